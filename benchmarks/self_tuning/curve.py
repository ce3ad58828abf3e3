"""What flow control's outputs do to the entropy of a batch, to first order: `python benchmarks/self_tuning/curve.py`.

The predicted change by output, in shares of the root mean square of A D, for the shipped policy on countdown: what the
self-tuning controller is told of one batch of the study (384 prompts x 2 completions). Written to curve.json with the slopes.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.batch import sampled

import entrostat as es
from entrostat.control import SelfTuning
from entrostat.lab import group_advantages
from entrostat.methods import Flow
from entrostat.methods.base import MethodState
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.stats import summarise
from entrostat.tasks import load_task
from entrostat.types import Summary, TokenBatch

HERE = Path(__file__).parent
PROMPTS, COMPLETIONS = 384, 2


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    policy, task = load_policy("tiny"), load_task("countdown")
    stats, mask_BT, rewards = sampled(policy, task, PROMPTS, COMPLETIONS, ("logp", "entropy", "baseline"))
    batch = TokenBatch(stats, group_advantages(rewards).flatten(), mask_BT)
    link = Flow(SelfTuning(0.2))
    state, account = link.init(), summarise(batch)
    for _ in range(2):  # the first time over the scale of the weights is not known yet
        summary = account + Summary(link.apply(es.ppo(batch), batch, state).sums)
        state = MethodState(state.knobs, link.remember(summary, state.memory))
    effect = link.effect("u", summary)
    assert effect is not None
    points = list(zip(effect.outputs, effect.changes, strict=True))
    slopes = [round((b - a) / (v - u), 4) for (u, a), (v, b) in pairwise(points)]
    changes = [round(change, 4) for change in effect.changes]
    write_json(
        HERE / "curve.json",
        {"environment": environment(), "outputs": effect.outputs, "changes": changes, "slopes": slopes},
    )
    print(*points, slopes, sep="\n")


if __name__ == "__main__":
    main()
