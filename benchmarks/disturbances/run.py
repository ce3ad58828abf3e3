"""Something changes in mid-run; how long until the target is held again? `python benchmarks/disturbances/run.py`.

The self-tuning controller holds three quarters of the initial entropy, with the two settings of `benchmarks/self_tuning`:
`flow` that of the tiny policy, `hold` that of SmolLM2. At step 45 one of four things changes (`disturbed.py`). Resumable: a run
that has finished is not run again. `results.json` is written anew after every run; `report.py` makes the page and the
figures.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.rows import earlier, environments, with_earlier
from common.runner import add_options, finished, run_all
from common.seeds import over_seeds
from common.smollm2 import SMOLLM2
from common.tiny import GOOD, SETTLING, TINY, WINDOW, held, rms, self_tuned

from entrostat.control.response import centred_mean, noise_band, response
from entrostat.run.folder import write_json
from entrostat.run.record import Run

HERE = Path(__file__).parent
RUNS = HERE / "runs"
KINDS = ("learning_rate", "task", "updates", "temperature")
STEP, STEPS = 45, 90
SERIES = ("measured", "output")
COMMON = (f"steps={STEPS}", "eval={every: 0, problems: 0}")


@dataclass(frozen=True)
class Setting:
    """What is trained, and by which method the entropy is held."""

    model: str
    method: str
    seeds: tuple[int, ...]
    arguments: tuple[str, ...]


SETTINGS = (
    Setting("tiny", "flow", (0, 1, 2, 3, 4), (*TINY, self_tuned("flow", 0.75))),
    Setting("smollm2", "hold", (0, 1), (*SMOLLM2, held(0.75))),
)


@dataclass(frozen=True)
class Case:
    """One run: what is trained, what changes, and the seed."""

    setting: Setting
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting.model}/{self.kind}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `disturbed.py`."""
        return [self.kind, str(STEP), *self.setting.arguments, *COMMON, f"seed={self.seed}"]


CASES = [Case(setting, kind, seed) for setting in SETTINGS for seed in setting.seeds for kind in KINDS]


def collect(path: Path) -> None:
    """Write what every finished run measured, and how each disturbance was recovered from; rows of runs elsewhere are kept."""
    before = earlier(path)
    loaded = {case: Run.load(RUNS / case.name) for case in CASES if finished(RUNS, case)}
    if not (loaded or before):
        return
    known = before.get("models", {})
    record = {
        "environments": environments([run.environment for run in loaded.values()], before.get("environments", [])),
        "step": STEP,
        "settling_asked": SETTLING,
        "window": WINDOW,
        "good": GOOD,
        "models": {
            setting.model: {"method": setting.method}
            | together(
                with_earlier(
                    [row_of(case, run) for case, run in loaded.items() if case.setting is setting],
                    known[setting.model]["runs"] if setting.model in known else [],
                    [named(case) for case in CASES if case.setting is setting],
                )
            )
            for setting in SETTINGS
        },
    }
    write_json(path, record)


def named(case: Case) -> dict[str, Any]:
    """What a run is known by in the results."""
    return {"kind": case.kind, "seed": case.seed}


def row_of(case: Case, run: Run) -> dict[str, Any]:
    """One run in numbers and as a series."""
    return named(case) | one(run) | series(run)


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one setting, and over its seeds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["kind"]].append(row)
    apart = ("kind", "seed", "target", *SERIES)
    return {
        "disturbances": {
            kind: {"seeds": [row["seed"] for row in group]}
            | {name: over_seeds([row[name] for row in group]) for name in group[0] if name not in apart}
            for kind, group in groups.items()
        },
        "runs": rows,
    }


def one(run: Run) -> dict[str, Any]:
    """How one run went through its disturbance. Errors are shares of the target."""
    measured, target = (run.column(f"entropy_control/{name}")[1] for name in ("measured", "target"))
    least = max(GOOD * target[-1], noise_band(measured[:STEP], WINDOW))
    told = response(measured, target, window=WINDOW, least=least, events=[STEP])
    errors = [(value - wanted) / wanted for value, wanted in zip(measured, target, strict=True)]
    before, after = errors[STEP // 2 : STEP], errors[STEP:]
    return {
        "settling": told.settling,
        "band": told.band / target[-1],
        "recovery": told.recoveries[0],
        "rms_before": rms(before),
        "worst_smoothed": max(map(abs, centred_mean(after, WINDOW))),
        "worst": max(map(abs, after)),
        "rms_after": rms(after[len(after) // 2 :]),
    }


def series(run: Run) -> dict[str, list[float]]:
    """The run itself."""
    return {name: [round(value, 4) for value in run.column(f"entropy_control/{name}")[1]] for name in SERIES} | {
        "target": round(run.column("entropy_control/target")[1][-1], 5)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only runs whose name contains this")
    add_options(parser)
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case.name]
    program = [str(HERE / "disturbed.py")]
    run_all(cases, RUNS, lambda: collect(HERE / "results.json"), options.workers, options.prefix, program)


if __name__ == "__main__":
    main()
