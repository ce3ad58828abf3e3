"""Something changes in mid-run; how long until the target is held again? `python benchmarks/disturbances/run.py`.

The self-tuning controller holds three quarters of the initial entropy, with the two settings of `benchmarks/self_tuning`. At
step 45 one of four things changes (`disturbed.py`). Resumable: a run that has finished is not run again. `results.json` is
written anew after every run; `report.py` makes the page and the figure.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.runner import add_options, finished, run_all
from common.seeds import over_seeds
from common.tiny import GOOD, SETTLING, TINY, WINDOW, rms, self_tuned

from entrostat.control.response import centred_mean, response
from entrostat.run.folder import write_json
from entrostat.run.record import Run

HERE = Path(__file__).parent
RUNS = HERE / "runs"
KINDS = ("learning_rate", "task", "updates", "temperature")
SEEDS = (0, 1, 2, 3, 4)
STEP, STEPS = 45, 90
SERIES = ("measured", "output")
COMMON = (*TINY, f"steps={STEPS}", "eval.problems=0", self_tuned("flow", 0.75))


@dataclass(frozen=True)
class Case:
    """One run: what changes, and the seed."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `disturbed.py`."""
        return [self.kind, str(STEP), *COMMON, f"seed={self.seed}"]


CASES = [Case(kind, seed) for seed in SEEDS for kind in KINDS]


def collect(path: Path) -> None:
    """Write what every finished run measured, and how each disturbance was recovered from."""
    cases = [case for case in CASES if finished(RUNS, case)]
    if not cases:
        return
    loaded = {case: Run.load(RUNS / case.name) for case in cases}
    rows = {case: one(run) for case, run in loaded.items()}
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.kind].append(case)
    record = {
        "environment": loaded[cases[0]].environment,
        "step": STEP,
        "settling_asked": SETTLING,
        "window": WINDOW,
        "good": GOOD,
        "disturbances": {
            kind: {"seeds": [case.seed for case in group]}
            | {name: over_seeds([rows[case][name] for case in group]) for name in rows[group[0]]}
            for kind, group in groups.items()
        },
        "runs": [{"kind": case.kind, "seed": case.seed, **rows[case], **series(loaded[case])} for case in cases],
    }
    write_json(path, record)


def one(run: Run) -> dict[str, Any]:
    """How one run went through its disturbance. Errors are shares of the target."""
    measured, target = (run.column(f"entropy_control/{name}")[1] for name in ("measured", "target"))
    told = response(measured, target, window=WINDOW, least=GOOD * target[-1], events=[STEP])
    errors = [(value - wanted) / wanted for value, wanted in zip(measured, target, strict=True)]
    before, after = errors[STEP // 2 : STEP], errors[STEP:]
    return {
        "settling": told.settling,
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
