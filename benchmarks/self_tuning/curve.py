"""What flow control's outputs do to the entropy of a batch, to first order: `python benchmarks/self_tuning/curve.py`.

The predicted change by output, in shares of the root mean square of A D, for the shipped policy on countdown: what the
self-tuning controller is told of one batch of the study (384 prompts x 2 completions). Written to curve.json with the slopes.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch

import entrostat as es
from entrostat.control import SelfTuning
from entrostat.methods import Flow
from entrostat.methods.base import MethodState
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.stats import summarise, token_stats
from entrostat.tasks import load_task
from entrostat.tasks.sampling import sample
from entrostat.theory import group_advantages
from entrostat.types import Summary, TokenBatch

HERE = Path(__file__).parent
PROMPTS, COMPLETIONS = 384, 2


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy, task = load_policy("tiny"), load_task("countdown")
    problems = [problem for problem in task.problems("train", PROMPTS, 0) for _ in range(COMPLETIONS)]
    prompts = [problem.prompt for problem in problems]
    drawn = sample(policy.model, policy.tokenizer, prompts, max_new_tokens=task.max_completion_tokens)
    logits = policy.model(drawn.ids_BS, attention_mask=drawn.attention_BS).logits[:, drawn.prompt_length - 1 : -1]
    stats = token_stats(logits, drawn.ids_BS[:, drawn.prompt_length :], want=("logp", "entropy", "baseline"))
    rewards = torch.tensor([task.score(problem, text) for problem, text in zip(problems, drawn.texts, strict=True)])
    batch = TokenBatch(stats, group_advantages(rewards.view(PROMPTS, COMPLETIONS)).flatten(), drawn.mask_BT)
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
