"""The same question on SmolLM2-135M: `python benchmarks/frontier/smollm2.py` after `benchmarks/self_tuning/run.py`.

The tiny policy chooses among a few tokens; here the tail of the distribution is 49,152 tokens long. The runs of flow, of the
bonus (as `hold`) and of plain GRPO are those of `benchmarks/self_tuning`; what is run here, in its settings, are the other
actuators, at a target below and one above the start. Resumable; `smollm2.json` is written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.rows import earlier, environments, with_earlier
from common.runner import add_options, finished, run_all
from common.smollm2 import SMOLLM2
from common.tiny import SETTLING
from results import BASE, MARGIN, against_base, curve, point, row_of
from studies import ACTUATORS, PLAIN

from entrostat.run.folder import write_json
from entrostat.run.record import Run

HERE = Path(__file__).parent
RUNS = HERE / "runs" / "smollm2"
SELF_TUNING = HERE.parent / "self_tuning" / "runs" / "smollm2"
STUDIED = (0.5, 0.75, 1.0, 1.25)  # targets there, of the initial entropy
SEEDS = (0, 1)
SHARES = (0.75, 1.25)
BESIDE = {BASE: "flow-self-tuned", "entropy bonus": "hold-self-tuned"}
"""Actuators whose runs are in the other study, and what they are called there."""
CHOSEN = {
    "temperature": ACTUATORS["temperature"],
    "cost-weighted flow": replace(ACTUATORS["cost-weighted flow"], settling=SETTLING),
}


@dataclass(frozen=True)
class Case:
    """One run: `name` is its folder, `share` its target as a share of the initial entropy."""

    actuator: str
    share: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.actuator.replace(' ', '-')}-{self.share:.2f}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        return [*SMOLLM2, f"seed={self.seed}", *CHOSEN[self.actuator].overrides(f"{self.share} * initial")]


CASES = [Case(actuator, share, seed) for seed in SEEDS for share in SHARES for actuator in CHOSEN]


def collect(path: Path) -> dict[str, Any]:
    """Read every finished run, those of `flow`, `hold` and plain GRPO from the other study, and write the results to `path`.

    Rows that are there already, of runs elsewhere, are kept.
    """
    runs: list[tuple[str, float | None, int, Run]] = [
        (c.actuator, c.share, c.seed, Run.load(RUNS / c.name)) for c in CASES if finished(RUNS, c)
    ]
    beside = {(name, share): f"{there}-{share:.2f}" for name, there in BESIDE.items() for share in STUDIED}
    beside[PLAIN, None] = "plain-GRPO"
    for (actuator, share), name in beside.items():
        for seed in SEEDS:
            if (folder := SELF_TUNING / f"{name}-seed{seed}").joinpath("summary.json").exists():
                runs.append((actuator, share, seed, Run.load(folder)))
    studied = [(c.actuator, c.share, c.seed) for c in CASES] + [(*each, seed) for each in beside for seed in SEEDS]
    order = [{"actuator": actuator, "target": share, "seed": seed} for actuator, share, seed in studied]
    before = earlier(path)
    rows = with_earlier([row_of(*run) for run in runs], before.get("runs", []), order)
    if not rows:
        return {}
    plain = [row for row in rows if row["actuator"] == PLAIN]
    margin = MARGIN * fmean(row["series"]["entropy"][0] for row in rows)
    record = {
        "environments": environments([run[-1].environment for run in runs], before.get("environments", [])),
        "plain": {"seeds": [row["seed"] for row in plain], "end": point(plain)},
        "curves": {name: curve(name, rows, STUDIED) for name in (*BESIDE, *CHOSEN)},
        "at_equal_entropy": {
            name: against_base(name, rows, STUDIED if name in BESIDE else SHARES, margin)
            for name in (*BESIDE, *CHOSEN)
            if name != BASE
        },
        "runs": rows,
    }
    write_json(path, record)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("actuators", nargs="*", default=list(CHOSEN), help=f"of {list(CHOSEN)}")
    parser.add_argument("--shares", type=float, nargs="*", default=list(SHARES), help="targets, of the initial entropy")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    add_options(parser)
    options = parser.parse_args()
    chosen = (options.actuators, options.shares, options.seeds)
    cases = [
        c for c in CASES if all(v in among for v, among in zip((c.actuator, c.share, c.seed), chosen, strict=True))
    ]
    run_all(cases, RUNS, lambda: collect(HERE / "smollm2.json"), options.workers, options.prefix)


if __name__ == "__main__":
    main()
