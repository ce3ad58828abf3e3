"""How far may the gain be from the prior? `python benchmarks/self_tuning/gains.py` writes gains.json.

The self-tuning controller on linear plants whose gain is a fraction or a multiple of what it takes for likely at first, as it is
shipped and with a rate limit both ways (`rate`): overshoot as a share of the way, and the settling time, of the true entropy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.seeds import middle

from entrostat.control import SelfTuning
from entrostat.control.estimator import PRIOR_GAIN
from entrostat.control.response import response
from entrostat.lab import LinearPlant, closed_loop
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
START = 0.26
MULTIPLES = (0.5, 1, 3, 8, 16, 30)
SETTLINGS = (15, 30)
NOISES = (0.01, 0.05)  # of the entropy at the start
VARIANTS = {"as shipped": {}, "limited both ways": {"rate": 0.4}}  # a tenth of the range of the output
STEPS, SEEDS = 120, range(20)


def judged(multiple: float, settling: int, noise: float, options: dict[str, float]) -> dict[str, Any]:
    """Over seeds, and targets of 75 and 125 % of the start."""
    overshoots, settlings = [], []
    plant = LinearPlant(
        gain=multiple * PRIOR_GAIN * START,
        drift=-0.004 * START,
        momentum=0.86,
        start=START,
        noise=noise * START,
        wander=0.002 * START,
    )
    for share in (0.75, 1.25):
        for seed in SEEDS:
            trace = closed_loop(plant, SelfTuning(share * START, settling, **options), STEPS, seed=seed)
            told = response(trace.entropy, trace.target, least=0.03 * share * START)
            overshoots.append(told.overshoot or 0.0)
            settlings.append(told.settling)
    return {
        "gain_over_prior": multiple,
        "overshoot_mean": round(fmean(overshoots), 3),
        "overshoot_most": round(max(overshoots), 3),
        "settling_median": middle(settlings),
    }


def main() -> None:
    rows = [
        {"settling_asked": settling, "noise": noise, "rate_limit": name, **judged(multiple, settling, noise, options)}
        for settling in SETTLINGS
        for noise in NOISES
        for multiple in MULTIPLES
        for name, options in VARIANTS.items()
    ]
    for row in rows:
        print(row)
    write_json(HERE / "gains.json", {"environment": environment(), "start": START, "rows": rows})


if __name__ == "__main__":
    main()
