"""`entrostat tune`: gains from the log of a run, or from a short probe of the real model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from entrostat.lab.tune import Tuning

NUMBERS = "tuning.json"


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN | LOG | --probe [CONFIG.yaml] [key.path=value ...]",
            help="A run folder, JSON lines or a .csv; with --probe what train takes.",
        ),
    ] = None,
    settling: Annotated[float, typer.Option(help="Steps until an error stays within 5 % of its first size.")] = 100.0,
    probe: Annotated[
        bool, typer.Option("--probe", help="Train shortly with an output that steps up and down.")
    ] = False,
    amplitude: Annotated[float | None, typer.Option(help="Of the probe's output [default: half its limit].")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder of the probe [default: runs/<time>-probe].")] = None,
    delay: Annotated[
        int | None, typer.Option(min=0, max=1000, help="1: outputs act on the next step (TRL); 0: at once (verl).")
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Of the optimizer [default: estimated].")] = None,
    damping: Annotated[float, typer.Option(help="Of the loop: 1 without swing, 0.7 the quickest to settle.")] = 0.7,
    entropy: Annotated[str | None, typer.Option(help="Column of the entropy.")] = None,
    output: Annotated[str | None, typer.Option(help="Column of the controller's output.")] = None,
    chart: Annotated[Path | None, typer.Option("--map", help="Draw the stability map into this picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON instead.")] = False,
) -> None:
    """Find gains that hold the entropy: estimate what an output does to it, and print gains for a settling time.

    Any run whose output moved can be used. If the effect cannot be told from noise, the command says so, with exit code 1.
    """
    from entrostat.cli._text import console as make_console
    from entrostat.lab.tune import tune
    from entrostat.logs.stretch import read_log

    if chart is not None:
        import entrostat.report.stability  # noqa: F401  # asks for matplotlib before a probe trains
    words = words or []
    path = _probe(words, out, amplitude, quiet=as_json) if probe else _named(words, out, amplitude)
    log = read_log(path, entropy, output, delay)
    found = tune(log, settling, delay=1 if delay is None else delay, momentum=momentum, damping=damping)
    notes = _verdicts(found)
    if as_json:
        from entrostat.run.folder import as_json as written

        typer.echo(written(found.record | {"notes": notes}))
    console = make_console()
    console.quiet = as_json
    console.print(_table(found))
    for line in notes:
        console.print(line, highlight=False, markup=False)
    if found.gains is None:
        raise typer.Exit(1)
    console.print(f"\n{found.yaml}", highlight=False, markup=False)
    if chart is not None:
        _draw(found, chart)
        console.print(f"\nmap: {chart}", highlight=False, markup=False)


def _named(words: list[str], out: Path | None, amplitude: float | None) -> Path:
    """The log that the words name."""
    from entrostat.errors import ConfigError

    if len(words) != 1:
        raise ConfigError(f"give one run folder or log to tune from, or --probe; got {words or 'nothing'}")
    if amplitude is not None or out is not None:
        raise ConfigError("--amplitude and --out belong to --probe")
    return Path(words[0])


def _probe(words: list[str], out: Path | None, amplitude: float | None, quiet: bool) -> Path:
    """Run the probe; its folder."""
    from entrostat.cli._progress import progress_for
    from entrostat.cli._settings import for_new_run
    from entrostat.lab.tune import probe_overrides
    from entrostat.run.folder import check_free, claim, default_path

    config = for_new_run(words)
    steps = config.steps if any(word.startswith("steps=") for word in words) else 40
    folder = out or default_path("probe")
    check_free(folder)

    from entrostat.run.resolve import resolve
    from entrostat.run.train import train

    config, size = probe_overrides(config, steps, amplitude)
    config = resolve(config)
    with claim(folder), progress_for(config, quiet) as progress:
        progress.note(f"probe: {steps} steps with the output at 0, then at {size:g}, then as far down")
        outcome = train(config, folder, progress)
    if not outcome.finished:
        raise typer.Exit(130)
    return folder


def _table(found: Tuning) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    plant = found.plant
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("estimate", justify="right")
    table.add_column("standard error", justify="right")
    rows = {
        "gain [nats per unit of output and step]": (f"{plant.gain:.5f}", f"{plant.gain_error:.5f}"),
        "drift without control [nats per step]": (f"{plant.drift:+.5f}", f"{plant.drift_error:.5f}"),
        "momentum": (f"{plant.momentum:.2f}", f"{plant.momentum_error:.2f}"),
        "noise of one measurement [nats]": (f"{plant.noise:.4f}", ""),
        "wander of the drift [nats per step]": (f"{plant.wander:.4f}", ""),
        "steps": (str(plant.steps), ""),
    }
    if found.gains is not None:
        loop = found.gains.loop
        rows |= {
            "kp": (f"{loop.kp:.3g}", ""),
            "ki": (f"{loop.ki:.3g}", ""),
            "settling time [steps]": (str(found.gains.settling), ""),
            "gain margin": (f"{loop.gain_margin:.1f}", ""),
            "the same at the upper end of the gain": (f"{found.margin:.1f}", ""),
            "output that cancels the drift": (f"{found.holding:+.2f}", ""),
            "rms error that noise leaves [nats]": (f"{found.rms:.4f}", ""),
        }
    for heading, (value, error) in rows.items():
        table.add_row(Text(heading), value, error)
    return table


def _verdicts(found: Tuning) -> list[str]:
    """What a reader has to know about the numbers, a sentence each."""
    from entrostat.cli._text import shown
    from entrostat.lab import gains_for

    lines = [f"columns: entropy {found.log.columns[0]!r}, output {found.log.columns[1]!r}"]
    lines += [f"log: {shown(note)}" for note in found.log.notes]
    if found.log.skipped:
        lines.append(f"{found.log.skipped} steps lie apart from the longest stretch and were left out")
    gains = found.gains
    if gains is None:
        lines.append(f"no gains: {found.plant.verdict}")
        if found.plant.gain_known:
            lines.append("check --delay and the columns; a method that selects other tokens may have the right sign")
        else:
            lines.append("a larger --amplitude or more steps of --probe would tell")
        return lines
    if not gains.reached:
        beta = found.plant.momentum
        line = f"no PI gains settle within {gains.wanted:g} steps: delay and a momentum of {beta:.2f} allow {gains.settling} "
        line += "at best, which these gains do; the self_tuning controller has no such bound"
        if beta > 0.6:
            other = gains_for(gains.wanted, found.plant.gain, delay=found.delay, momentum=0.5).settling
            line += f", and with a momentum of 0.5 (trainer.adam_beta1) it were {other}"
        lines.append(line)
    low, high = found.actuator.limits
    if not low < found.holding < high:
        lines.append(
            f"the drift needs an output of {found.holding:+.2f}, outside the limits {low:g} to {high:g}: no gains hold the "
            "entropy; widen the limits, or choose a method with more authority"
        )
    if found.margin < 2:
        lines.append("the gain is known so poorly that its upper end leaves a margin below 2: tune from a longer log")
    return lines


def _draw(found: Tuning, path: Path) -> None:
    import math

    from entrostat.lab import Loop, ki_range
    from entrostat.report.stability import stability_figure

    assert found.gains is not None
    own, plant, options = found.gains.loop, found.plant, found.actuator.options or {}
    read, delay, beta = own.integral_read, own.delay, own.momentum
    widest, tallest = 4.0 * own.kp, 5.0 * own.ki
    kp = [widest * (i + 0.5) / 80 for i in range(80)]
    ki = [tallest * (i + 0.5) / 80 for i in range(80)]

    def tau(x: float, y: float) -> float:
        loop = Loop(x, y, plant.gain, read, delay, beta)
        return -1 / math.log(loop.spectral_radius) if loop.is_stable else math.nan

    def edge(gain: float) -> list[float]:
        return [high / gain if (high := ki_range(gain * x, read, delay, beta)[1]) else math.nan for x in kp]

    edges = {"limit of stability": edge(plant.gain), "at the upper end of the gain": edge(plant.gain_range[1])}
    points = {f"kp {own.kp:.3g}, ki {own.ki:.3g}": (own.kp, own.ki)}
    was = {name: float(value) for name in ("kp", "ki") if isinstance(value := options.get(name), int | float)}
    if len(was) == 2 and was["kp"] < widest and was["ki"] < tallest:
        points[f"as run: kp {was['kp']:g}, ki {was['ki']:g}"] = (was["kp"], was["ki"])
    stability_figure(path, kp, ki, [[tau(x, y) for x in kp] for y in ki], edges, points)
