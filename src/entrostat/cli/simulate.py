"""`entrostat simulate`: what a controller will do, before it meets a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from entrostat.lab.simulate import Simulation

PICTURES = (".png", ".svg", ".pdf")
FIGURE = "response.png"
_WORDS = {"learning_rate": "learning rate x "}


def command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key.path=value ...]", help="A configuration file and overrides."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder, or a picture alone by its ending [default: runs/<time>-simulate].")
    ] = None,
) -> None:
    """Test a controller on a simple model of training, the plant: settling time, overshoot, remaining error, saturation.

    The plant is 'linear' (by default like the tiny policy), 'tabular' (bandits that learn under the whole method), or the run
    folder or log of an earlier run, from which a linear plant is estimated. The method is written as for train.
    """
    from entrostat.cli._settings import one_file
    from entrostat.cli._text import console as make_console
    from entrostat.cli._text import shown
    from entrostat.lab.simulate import load_simulation, simulate
    from entrostat.run.config import RunConfig
    from entrostat.run.folder import default_path

    file, overrides = one_file(settings or [])
    asked = load_simulation(file, overrides, RunConfig.model_fields)
    place = out or default_path("simulate")
    _check_place(place)
    found = simulate(asked)
    console = make_console()
    console.print(_table(found))
    drawn = _write(found, place)
    console.print(
        shown(f"{'figure' if place.suffix in PICTURES else 'folder'}: {place}"), highlight=False, markup=False
    )
    if not drawn:
        console.print("no figure: matplotlib is not installed: pip install 'entrostat[train]'")


def _check_place(place: Path) -> None:
    """Refuse before the simulation what would be lost after it: a folder in use, a picture that nothing can draw."""
    from entrostat.run.folder import check_free

    if place.suffix in PICTURES:
        import entrostat.report.response  # noqa: F401  # a picture cannot do without matplotlib
    else:
        check_free(place)


def _write(found: Simulation, place: Path) -> bool:
    """Write the files; whether the figure is among them, which a folder can do without."""
    import json

    from entrostat.run.folder import CONFIG, METRICS, SIMULATION, saving, write_json, write_text

    alone = place.suffix in PICTURES
    with saving(place):
        (place.parent if alone else place).mkdir(parents=True, exist_ok=True)
    drawn = _drawn(found, place if alone else place / FIGURE)
    if alone:
        return drawn
    from entrostat.core.yaml_file import dump

    write_text(place / CONFIG, dump(found.config.model_dump()))
    write_text(place / METRICS, "".join(json.dumps(row) + "\n" for row in found.rows))
    write_json(place / SIMULATION, found.record)
    return drawn


def _drawn(found: Simulation, path: Path) -> bool:
    try:
        from entrostat.report.response import response_figure
    except ModuleNotFoundError:
        return False

    trace = found.trace
    response_figure(
        path,
        trace.measured,
        trace.target,
        trace.output,
        numbers=found.numbers,
        window=found.window,
        limits=found.limits,
        events={each["at"]: _words(each) for each in found.config.events},
        reward=trace.reward,
    )
    return True


def _table(found: Simulation) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from entrostat.cli._text import shown

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(
        Text(shown(f"{found.config.method.name} on {Path(found.config.plant.name).name}")),
        justify="right",
        no_wrap=True,
    )
    trace, numbers = found.trace, found.numbers

    def row(heading: str, value: str) -> None:
        table.add_row(Text(heading), value)  # as Text: brackets are not markup

    row("entropy, start -> end [nats]", f"{trace.measured[0]:.3f} -> {trace.measured[-1]:.3f}")
    if numbers is not None:
        target = trace.target[-1]
        row("target", f"{target:.3f}")
        row(f"settling time, to within {numbers.band:.2g} nats [steps]", _or_never(numbers.settling))
        over = "-" if numbers.overshoot is None else f"{numbers.overshoot:.0%}"
        row("overshoot [share of the change]", over)
        row("error over the second half, mean", _with_share(numbers.steady_error, target))
        row("error over the second half, rms", _with_share(numbers.rms_error, target))
        row("steps at a limit of the output", f"{numbers.saturated or 0:.1%}")
        for event, steps in zip(_by_step(found), numbers.recoveries, strict=True):
            row(f"recovery from step {event} [steps]", _or_never(steps))
    theory = found.record.get("theory")
    if theory is not None:
        verdict = f"stable, gain margin {theory['gain_margin']:.1f}" if theory["stable"] else "unstable"
        row("theory", verdict)
        if theory["settling"] is not None:
            row("theory: settling time without noise [steps]", str(theory["settling"]))
    if trace.reward:
        tenth = max(1, len(trace.reward) // 10)
        ends = [sum(part) / tenth for part in (trace.reward[:tenth], trace.reward[-tenth:])]
        row("reward, start -> end", f"{ends[0]:.2f} -> {ends[1]:.2f}")
    row("steps; steps per second", f"{found.config.steps}; {found.record['steps_per_second']:,}")
    return table


def _by_step(found: Simulation) -> list[int]:
    return sorted({each["at"] for each in found.config.events})


def _words(event: dict[str, Any]) -> str:
    return ", ".join(f"{_WORDS.get(key, key + ' ')}{value:g}" for key, value in event.items() if key != "at")


def _or_never(steps: int | None) -> str:
    return "not settled" if steps is None else str(steps)


def _with_share(error: float, target: float) -> str:
    return f"{error:.4f}" + (f" ({error / target:.1%})" if target > 0 else "")
