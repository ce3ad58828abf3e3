"""How far an actuator reaches on exact policies: `python benchmarks/frontier/reach.py` (three minutes) writes reach.json.

Tabular policies: 32 prompts with 16 answers each, one of them right, and on most prompts the policy's favourite. Learning
lowers the entropy, and the larger the groups, the clearer the gradient and the faster it does. A weight can only use what the
advantages leave: they are zero where a group's rewards all agree, and no weight is negative. An added term acts on every
token, and the sampling temperature without any gradient. Each actuator is turned by a self-tuning controller, in the settings of
`studies.py`; the measured entropy has no noise.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from results import interval
from studies import ACTUATORS

import entrostat as es
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.theory import Bandit, random_bandit, train_bandit

HERE = Path(__file__).parent
CHOSEN = ("flow", "sign of D", "cost-weighted flow", "entropy bonus", "temperature")
PROMPTS, ANSWERS = 32, 16
START = 0.5  # mean entropy before the first step [nats]
FAVOURITE = 0.6  # of the prompts have the policy's favourite for their right answer, the others one of its next three
GROUPS, SHARES, SEEDS, STEPS = (2, 4, 8, 16), (0.75, 1.0, 1.25), range(10), 150


def bandit(group: int, seed: int) -> Bandit:
    """At this learning rate plain GRPO loses a third of the entropy or more."""
    start = random_bandit(ANSWERS, PROMPTS, START, seed, group=group, learning_rate=0.1, momentum=0.86)
    generator = torch.Generator().manual_seed(seed)
    sure = torch.rand(PROMPTS, generator=generator) < FAVOURITE
    rank = torch.where(sure, 0, torch.randint(1, 4, (PROMPTS,), generator=generator))
    logits_SV = start.policy.logits_SV
    right = logits_SV.argsort(-1, descending=True).gather(1, rank[:, None])
    return replace(start, success_SV=torch.zeros_like(logits_SV).scatter_(1, right, 1.0))


def method(actuator: str | None, target: float) -> Any:
    """The preset with a self-tuning controller; None: plain GRPO."""
    if actuator is None:
        return es.make("observe", account=False)
    of = ACTUATORS[actuator]
    options = dict(option.split("=") for option in of.options) | ({} if of.knob == "coef" else {"target": None})
    return es.make(
        of.method, **options, **{of.knob: es.SelfTuning(target, of.settling, of.limits, momentum=of.momentum)}
    )


def one(actuator: str | None, share: float, group: int, seed: int) -> dict[str, float]:
    """The last third of a run: mean error as a share of the target, mean reward, share of steps at a limit of the output."""
    trace = train_bandit(bandit(group, seed), method(actuator, share * START), STEPS, seed=seed)
    last = slice(-STEPS // 3, None)
    found = {"entropy": fmean(trace.entropy[last]) / START, "reward": fmean(trace.reward[last])}
    if actuator is not None:
        errors = [abs(h / START / share - 1) for h in trace.entropy[last]]
        found |= {"error": fmean(errors), "at_a_limit": fmean(map(abs, trace.saturated[last]))}
    return found


def over_seeds(actuator: str | None, share: float, group: int) -> dict[str, Any]:
    runs = [one(actuator, share, group, seed) for seed in SEEDS]
    return {key: interval([run[key] for run in runs]) for key in runs[0]}


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for group in GROUPS:
        for actuator, share in [(None, 1.0), *((name, share) for name in CHOSEN for share in SHARES)]:
            found = over_seeds(actuator, share, group)
            rows.append({"group": group, "actuator": actuator, "share": share if actuator else None, **found})
            print(group, actuator, share, {key: round(value["mean"], 3) for key, value in found.items()}, flush=True)
    write_json(HERE / "reach.json", {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
