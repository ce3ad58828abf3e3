"""How well an optimizer step's change of entropy is predicted: `python benchmarks/quality/prediction/run.py [tiny] [smollm2]`.

Training runs that predict on every few steps what the step does to the mean entropy of its own tokens, and evaluate the
same tokens again after it. Resumable: a run whose folder holds a summary is not run again, any other starts over. `results.json`
is written anew after every run, from the folders of all that have finished; `report.py` makes the page and the figure.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.runner import add_options, finished, run_all

from entrostat.run.folder import write_json
from entrostat.run.record import Run
from entrostat.stats.summarize import QUADRANTS

HERE = Path(__file__).parent
RUNS = HERE / "runs"
PARTS = (*QUADRANTS, "neutral", "bonus", "carried", "decay", "rest")
KEPT = (
    "predicted",
    "measured_same_batch",
    "integrated",
    "logit_level",
    "visited_states",
    "visited_error",
    *PARTS,
    "seconds",
)

# Shared by both policies. Decay and clipping as in common practice, so that the optimizer's whole step is at work.
COMMON = (
    "eval.problems=0",
    "predict.nodes=2",
    "predict.visited_states=true",
    "trainer.save_steps=1000",
    "trainer.weight_decay=0.01",
    "trainer.max_grad_norm=0.2",
)
TINY = (
    "model=tiny",
    "steps=40",
    "predict.every=3",
    "trainer.per_device_train_batch_size=192",
    "trainer.num_generations=16",
)
SMOLLM2 = (
    "model=smollm2",
    "task={name: rg:chain_sum, template: plain, shots: 3, min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1, "
    "temperature: 0.6, max_completion_tokens: 8}",
    "steps=15",
    "predict.every=2",
    "trainer.per_device_train_batch_size=16",
    "trainer.num_generations=8",
)
METHODS = {"observe": "method=observe", "flow": "method={name: flow, target: 0.26}"}


@dataclass(frozen=True)
class Case:
    """One training run."""

    model: str
    method: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.method}-{self.rate:g}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        base = TINY if self.model == "tiny" else SMOLLM2
        return [*base, *COMMON, METHODS[self.method], f"trainer.learning_rate={self.rate}", f"seed={self.seed}"]


CASES = {
    "tiny": [Case("tiny", m, lr, seed) for seed in range(5) for lr in (3e-5, 1e-4, 3e-4) for m in METHODS],
    "smollm2": [Case("smollm2", "observe", lr, seed) for seed in range(2) for lr in (1e-6, 1e-5)],
}


def collect(path: Path) -> None:
    """Write what every finished run predicted and measured, and how well they agree."""
    cases = [case for group in CASES.values() for case in group if finished(RUNS, case)]
    if not cases:
        return
    runs = {case: Run.load(RUNS / case.name) for case in cases}
    rows = {case: predictions(each) for case, each in runs.items()}
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[f"{case.model}, all"].append(case)
        groups[f"{case.model}, {case.rate:g}"].append(case)
        groups[f"{case.model}, {case.rate:g}, {case.method}"].append(case)
    record = {
        "finished": {m: [sum(case.model == m for case in cases), len(group)] for m, group in CASES.items()},
        "environment": {case.model: runs[case].environment for case in cases},
        "agreement": {name: agreement([rows[case] for case in members]) for name, members in groups.items()},
        "agreement_after_the_first_step": {
            name: agreement([rows[case][1:] for case in members]) for name, members in groups.items()
        },
        "runs": [
            {"name": case.name, "overrides": [a for a in case.arguments if "=" in a], "predictions": rows[case]}
            for case in cases
        ],
    }
    write_json(path, record)


def predictions(run: Run) -> list[dict[str, float]]:
    """The predictions of one run, six digits of each number, with the seconds of the step beside them."""
    prefix = "entropy_prediction/"
    return [
        {"step": row["step"], "step_seconds": row["step_time"]} | {k: float(f"{row[prefix + k]:.6g}") for k in KEPT}
        for row in run.metrics
        if row.get(prefix + "predicted") is not None
    ]


def agreement(runs: Sequence[list[dict[str, float]]]) -> dict[str, Any]:
    """Predicted beside measured, over all predictions of several runs."""
    rows = [row for each in runs for row in each]
    measured = [row["measured_same_batch"] for row in rows]
    flow = [row["logit_level"] for row in rows]
    factor = sum(m * f for m, f in zip(measured, flow, strict=True)) / sum(f * f for f in flow)
    errors = [abs(row["predicted"] - m) for row, m in zip(rows, measured, strict=True)]
    gross = [sum(abs(row[name]) for name in PARTS) for row in rows]
    return {
        "runs": len(runs),
        "predictions": len(rows),
        "r2_predicted": r_squared(measured, [row["predicted"] for row in rows]),
        "r2_integrated": r_squared(measured, [row["integrated"] for row in rows]),
        "r2_logit_level_fitted": r_squared(measured, [factor * f for f in flow]),
        "logit_level_factor": factor,
        "r2_predicted_of_each_run": [
            round(r_squared([r["measured_same_batch"] for r in each], [r["predicted"] for r in each]), 5)
            for each in runs
        ],
        "median_size_of_change": median(abs(m) for m in measured),
        "median_error": median(errors),
        "largest_rest_to_gross": max(abs(row["rest"]) / size for row, size in zip(rows, gross, strict=True)),
        "mean_share_of_gross": {
            name: fmean(abs(row[name]) / size for row, size in zip(rows, gross, strict=True)) for name in PARTS
        },
        "median_seconds": {key: median(row[key] for row in rows) for key in ("seconds", "step_seconds")},
    }


def r_squared(measured: Sequence[float], predicted: Sequence[float]) -> float:
    """1 - sum (measured - predicted)^2 / sum (measured - mean)^2: nothing is fitted."""
    mean = fmean(measured)
    residual = sum((m - p) ** 2 for m, p in zip(measured, predicted, strict=True))
    return 1 - residual / sum((m - mean) ** 2 for m in measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(CASES), help=f"of {list(CASES)}")
    add_options(parser, workers=1)
    options = parser.parse_args()
    cases = [case for model in options.models for case in CASES[model]]
    run_all(cases, RUNS, lambda: collect(HERE / "results.json"), options.workers, options.prefix)


if __name__ == "__main__":
    main()
