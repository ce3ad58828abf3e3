"""Before training, on one real batch: what entropy there is, which tokens would move it, and which method could turn it.

The batch is sampled and scored as a training step would; nothing is trained. Saved, it can be looked at again without a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from entrostat.attribution.lens import Lens, lens
from entrostat.errors import DataError, EntrostatError
from entrostat.lab.tabular import group_advantages
from entrostat.methods import Chain, names
from entrostat.methods.cards import example
from entrostat.stats import token_stats
from entrostat.types import STATISTICS, Old, Statistic, TokenBatch, TokenStats

_ROWS = 32  # completions whose logits are held at once


@dataclass(frozen=True)
class Probed:
    """One batch under the lens.

    Attributes:
        batch: on-policy, with rewards and groups. methods: by name, what the lens sees.
        refused: methods that this batch cannot show, with the reason.
    """

    batch: TokenBatch
    methods: dict[str, Lens]
    refused: dict[str, str]

    @property
    def record(self) -> dict[str, Any]:
        """Everything as plain values."""
        batch, mask = self.batch, self.batch.mask
        entropy = batch.stats.need("entropy")[mask]
        rewards, groups = batch.rewards_B, batch.groups_B
        assert rewards is not None and groups is not None
        spread = [bool(rewards[groups == g].max() > rewards[groups == g].min()) for g in groups.unique()]
        first = next(iter(self.methods.values()))
        return {
            "tokens": int(mask.sum()),
            "completions": int(mask.shape[0]),
            "entropy": float(entropy.mean()),
            "quantiles": dict(
                zip(("10 %", "50 %", "90 %"), entropy.float().cpu().quantile(_QUANTILES).tolist(), strict=True)
            ),
            "near_certain": float((batch.stats.need("logp")[mask] > -0.0513).float().mean()),
            "by_position": by_position(batch),
            "reward": float(rewards.nanmean()),
            "groups_with_spread": sum(spread) / len(spread),
            "drift": first.plain,
            "quadrants": {name: vars(each) for name, each in first.quadrants.items()},
            "methods": {
                name: {
                    "touched": look.touched,
                    "changed": look.changed,
                    "low": look.low,
                    "high": look.high,
                    "authority": look.authority if look.authority != float("inf") else None,
                    "reverses": look.reverses,
                    "touched_by_quadrant": {kind: each.touched for kind, each in look.quadrants.items()},
                }
                for name, look in self.methods.items()
            },
            "refused": self.refused,
        }


_QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def by_position(batch: TokenBatch) -> list[float]:
    """Mean entropy over each eighth of the completions, from their first to their last position [nats]."""
    entropy, mask = batch.stats.need("entropy"), batch.mask
    edges = torch.linspace(0, mask.shape[1], min(8, mask.shape[1]) + 1).round().long().tolist()
    found = []
    for left, right in pairwise(edges):
        inside = mask[:, left:right]
        if inside.any():
            found.append(float(entropy[:, left:right][inside].detach().mean()))
    return found


def sample_batch(policy: Any, task: Any, prompts: int, completions: int, seed: int, want: Iterable[Any]) -> TokenBatch:
    """A batch of completions with their statistics, rewards and group-normalized advantages; nothing is trained.

    Args:
        policy: of `models.load_policy`. task: of `tasks.load_task`.
        want: statistics with a parameter, beside the named ones.

    Raises:
        DataError: not one completion could be scored.
    """
    from entrostat.tasks.base import score_all
    from entrostat.tasks.sampling import sample, undisturbed

    problems = [problem for problem in task.problems("train", prompts, seed) for _ in range(completions)]
    with torch.no_grad(), undisturbed(policy.model, seed):
        drawn = sample(
            policy.model,
            policy.tokenizer,
            [problem.prompt for problem in problems],
            max_new_tokens=task.max_completion_tokens,
            temperature=task.temperature,
        )
        start = drawn.prompt_length
        parts = []
        for first in range(0, len(problems), _ROWS):
            rows = slice(first, first + _ROWS)
            ids, attention = drawn.ids_BS[rows], drawn.attention_BS[rows]
            logits = policy.model(ids, attention_mask=attention).logits[:, start - 1 : -1].float()
            parts.append(token_stats(logits, ids[:, start:], [*STATISTICS, *want], task.temperature))
    stats = _joined(parts)
    rewards = torch.tensor(score_all(task, problems, drawn.texts).values, dtype=torch.float32)
    return TokenBatch(
        stats,
        group_advantages(rewards.view(-1, completions)).flatten().float(),
        drawn.mask_BT,
        None,
        rewards,
        torch.arange(prompts).repeat_interleave(completions),
    )


def _joined(parts: Sequence[TokenStats]) -> TokenStats:
    named: dict[str, Any] = {name: torch.cat([part.need(name) for part in parts]) for name in STATISTICS}
    extra = {key: torch.cat([part.extra[key] for part in parts]) for key in parts[0].extra}
    return TokenStats(**named, extra=extra)


def statistics_of(methods: Iterable[Chain]) -> list[Statistic]:
    """Every statistic with a parameter that the methods ask for; on-policy the old policy's are the present one's."""
    asked = {w.of if isinstance(w, Old) else w for method in methods for w in method.requires}
    return sorted((w for w in asked if isinstance(w, Statistic)), key=str)


def probe(batch: TokenBatch, chosen: Sequence[str] | None = None) -> Probed:
    """Look at a batch through every method, or through those that are named."""
    batch = replace(batch, stats=batch.stats.detach())
    seen: dict[str, Lens] = {}
    refused: dict[str, str] = {}
    for name in ["observe", *(each for each in chosen or names() if each != "observe")]:
        try:
            seen[name] = lens(example(name), batch)
        except EntrostatError as error:
            refused[name] = str(error)
    return Probed(batch, seen, refused)


def save_batch(batch: TokenBatch, path: Path) -> None:
    """Write a batch's numbers, so that it can be probed again without the model: one `.safetensors` file."""
    from safetensors.torch import save_file

    if batch.rewards_B is None or batch.groups_B is None:
        raise DataError("a batch is saved with its rewards and groups: pass rewards_B and groups_B")
    values = {name: batch.stats.need(name) for name in STATISTICS}
    values |= {"advantages": batch.advantages_BT[:, 0], "mask": batch.mask}
    values |= {"rewards": batch.rewards_B, "groups": batch.groups_B}
    save_file({name: value.detach().cpu().contiguous() for name, value in values.items()}, str(path))


def load_batch(path: Path) -> TokenBatch:
    """The inverse of `save_batch`; `DataError` where the file is none of its own."""
    from safetensors.torch import load_file

    try:
        values = load_file(str(path))
        named: dict[str, Any] = {name: values[name] for name in STATISTICS}
        return TokenBatch(
            TokenStats(**named), values["advantages"], values["mask"], None, values["rewards"], values["groups"]
        )
    except Exception as error:  # safetensors raises a class of its own for each fault
        raise DataError(f"{path} holds no saved batch: {error}. Make one with entrostat probe --save {path}") from error
