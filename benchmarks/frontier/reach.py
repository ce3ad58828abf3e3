"""How far an actuator reaches on exact policies: `python benchmarks/frontier/reach.py` (six minutes) writes reach.json.

Tabular policies: 32 prompts with 16 answers each, one of them right, and on most prompts the policy's favourite. Learning
lowers the entropy, and the larger the groups, the clearer the gradient and the faster it does. A weight can only use what the
advantages leave: they are zero where a group's rewards all agree, and no weight is negative. An added term acts on every
token, and the sampling temperature without any gradient. Each actuator is turned by a self-tuning controller, in the settings of
`studies.py`; the measured entropy has no noise. Flow's weights are varied too: how large they may be, and whose tokens have
them. Larger weights are larger steps as well, under plain gradient descent, so that the learning rate is varied beside them.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
import yaml
from results import interval
from studies import ACTUATORS, Actuator

import entrostat as es
from entrostat.lab import Bandit, random_bandit, train_bandit
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
CHOSEN = ("flow", "sign of D", "cost-weighted flow", "entropy bonus", "temperature")
VARIANTS = {
    "flow, weights up to 2": Actuator("flow", (-2.0, 2.0), ("w_max=2",)),
    "flow, weights up to 20": Actuator("flow", (-8.0, 8.0), ("w_max=20",)),
    "flow, right samples": Actuator("flow", (-2.0, 2.0), ("samples=positive",)),
    "flow, wrong samples": Actuator("flow", (-2.0, 2.0), ("samples=negative",)),
}
LEARNING_RATE = 0.1  # plain GRPO loses a third of the entropy or more
FASTER = (0.2, 0.4)  # learning rates at which `FAST` are run at the two lower targets
FAST = ("flow", "flow, weights up to 20", "entropy bonus")
PROMPTS, ANSWERS = 32, 16
START = 0.5  # mean entropy before the first step [nats]
FAVOURITE = 0.6  # of the prompts have the policy's favourite for their right answer, the others one of its next three
GROUPS, SHARES, SEEDS, STEPS = (2, 4, 8, 16), (0.75, 1.0, 1.25), range(10), 150


def bandit(group: int, seed: int, learning_rate: float = LEARNING_RATE) -> Bandit:
    start = random_bandit(ANSWERS, PROMPTS, START, seed, group=group, learning_rate=learning_rate, momentum=0.86)
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
    of = (ACTUATORS | VARIANTS)[actuator]
    options = {key: yaml.safe_load(value) for key, value in (option.split("=") for option in of.options)}
    options |= {} if of.knob == "coef" else {"target": None}
    return es.make(
        of.method, **options, **{of.knob: es.SelfTuning(target, of.settling, of.limits, momentum=of.momentum)}
    )


def one(actuator: str | None, share: float, group: int, seed: int, learning_rate: float) -> dict[str, float]:
    """The last third of a run: mean error as a share of the target, mean reward, share of steps at a limit of the output."""
    trace = train_bandit(bandit(group, seed, learning_rate), method(actuator, share * START), STEPS, seed=seed)
    last = slice(-STEPS // 3, None)
    found = {"entropy": fmean(trace.entropy[last]) / START, "reward": fmean(trace.reward[last])}
    if actuator is not None:
        errors = [abs(h / START / share - 1) for h in trace.entropy[last]]
        found |= {"error": fmean(errors), "at_a_limit": fmean(map(abs, trace.saturated[last]))}
    return found


def over_seeds(actuator: str | None, share: float, group: int, learning_rate: float = LEARNING_RATE) -> dict[str, Any]:
    """The condition, and its means over seeds with their intervals."""
    runs = [one(actuator, share, group, seed, learning_rate) for seed in SEEDS]
    found = {key: interval([run[key] for run in runs]) for key in runs[0]}
    print(
        group,
        actuator,
        share,
        learning_rate,
        {key: round(value["mean"], 3) for key, value in found.items()},
        flush=True,
    )
    return {"group": group, "actuator": actuator, "share": share if actuator else None, **found}


def main() -> None:
    torch.set_num_threads(1)
    rows, variants, faster = [], [], []
    for group in GROUPS:
        rows.append(over_seeds(None, 1.0, group))
        rows += [over_seeds(name, share, group) for name in CHOSEN for share in SHARES]
        variants += [over_seeds(name, share, group) for name in VARIANTS for share in SHARES]
        for name, share in itertools.product(FAST, SHARES[:2]):
            faster += [{"learning_rate": rate, **over_seeds(name, share, group, rate)} for rate in FASTER]
    record = {"environment": environment(), "learning_rate": LEARNING_RATE, "rows": rows}
    write_json(HERE / "reach.json", {**record, "variants": variants, "faster": faster})


if __name__ == "__main__":
    main()
