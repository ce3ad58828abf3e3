"""What the tests of methods share: every preset with its variants, and random batches to apply them to."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from device import placed
from torch import Tensor

import entrostat as es
from entrostat.control import PI, Cosine, Linear, SelfTuning, Step
from entrostat.core.control import EntropyControl
from entrostat.core.totals import Pending
from entrostat.methods import Chain, factory, names, token_push
from entrostat.methods.cards import EXAMPLES
from entrostat.stats import token_stats
from entrostat.stats.truncated import parameterized_stats
from entrostat.types import Old, Statistic, Surrogate, TokenBatch, TokenStats, Totals, Want

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One preset with its options.

    `micro`: some quantity is declared to be of the micro-batch (scope "micro", a cap, the released normalizer), so weights
    and predictions differ between one micro-batch and four; the controller's state must not.
    """

    name: str
    options: dict[str, Any]
    micro: bool = False

    def __call__(self) -> Chain:
        return es.make(self.name, **self.options)

    def __str__(self) -> str:
        return self.name + "".join(
            f",{k}={type(v).__name__ if hasattr(v, 'limits') else v}" for k, v in self.options.items()
        )


def _cases() -> list[Case]:
    cases = [Case("observe", {}), Case("flow", {"target": 0.4}), Case("entropic", {"target": 0.4}, micro=True)]
    strong = {"target": 0.4, "kp": 2.0, "ki": 0.3}
    cases += [
        Case("flow", strong | {"scope": "micro"}, micro=True),
        Case("flow", {"target": Linear(0.9, 0.2, 4), "w_max": 1.5}),
        Case("flow", strong | {"shape": "cost"}),
        Case("flow", strong | {"shape": "sign", "samples": "negative"}),
        Case("flow", strong | {"shape": "cost", "samples": "positive", "scope": "micro"}, micro=True),
        Case("flow", {"controller": 0.7}),
        Case("flow", {"controller": Cosine(0.7, -0.7, 3)}),
        Case("flow", {"controller": PI(0.4, 3.0, 0.5, (-1.0, 1.0), bumpless=True)}),
        Case("flow", {"controller": PI(0.4, 3.0, 0.5, (-float("inf"), float("inf")))}),
        Case("flow", {"controller": Step(0.4, 0.3, (-1.0, 1.0), gated=False)}),
    ]
    for normalizer in ("all", "selected"):
        for select in ("probability", "discriminator", "all"):
            options = strong | {"select": select, "normalizer": normalizer, "threshold": 0.5}
            cases.append(Case("entropic", options, micro=normalizer == "selected"))
    for scope in ("step", "micro"):
        for two_sided in (False, True):
            options = {"mu": 0.5, "two_sided": two_sided, "scope": scope}
            cases.append(Case("clip_b", options, micro=scope == "micro"))
            cases.append(Case("clip_v", options | {"largest_share": 1.0}, micro=scope == "micro"))
    cases += [
        Case("clip_v", {}, micro=True),
        Case("clip_v", {"mu": 0.2, "largest_share": 0.1}, micro=True),
        Case("clip_b", {}),
        Case("clip_b", {"mu": Linear(2.0, 0.1, 4)}),
        Case("clip_b", {"mu": PI(0.4, 1.0, 0.1, (0.1, 3.0), start=1.0)}),
        Case("entropy_bonus", {}),
        Case("entropy_bonus", {"coef": Linear(0.02, -0.01, 3)}),
        Case("entropy_bonus", {"coef": PI(2.0, 1.0, 0.1, (-0.5, 0.5))}),
        Case("entropy_bonus", {"coef": Step(0.4)}),
        Case("hold", {"target": 0.4}),
        Case("hold", {"target": Linear(0.9, 0.2, 4), "kp": 2.0, "ki": 0.3}),
        Case("hold", {"controller": 0.1}),
        Case("skywork", {}),
        Case("skywork", {"target": 1.9, "delta": 0.1, "limits": (-0.2, 0.5), "start": 0.1}),
        Case("temperature", {"target": 0.4}),
        Case("temperature", {"target": 0.4, "rate": 0.5, "limits": (0.9, 1.1)}),
        Case("temperature", {"controller": Linear(1.0, -1.0, 3)}),
        Case("nsr", {}),
        Case("psr", {}),
        Case("w_reinforce", {}),
        Case("w_reinforce", {"positive": PI(0.4, 1.0, 0.1, (0.0, 1.0), start=0.1)}),
        Case("nsr", {"weight": Linear(1.0, 0.0, 2)}),
        Case("clip_higher", {}),
        Case("clip_higher", {"eps_high": Linear(0.2, 0.4, 4), "eps_low": None}),
        Case("clip_higher", {"eps_high": PI(0.4, 1.0, 0.1, (0.0, 0.5), start=0.28)}),
        Case("clip_higher", {"eps_high": SelfTuning(0.4, limits=(0.1, 0.5), start=0.28)}),
        Case("clip_higher", {"eps_low": Step(0.4, 0.01, (0.1, 0.3), start=0.2, gated=False)}),
        Case("kl_cov", {"share": 0.1}),
        Case("kl_cov", {"share": 0.3, "coef": 0.2, "scope": "micro"}, micro=True),
        Case("kl_cov", {"share": 0.3, "coef": PI(0.4, 1.0, 0.1, (0.0, 2.0), start=1.0)}),
        Case("lp_reg", {}),
        Case("lp_reg", {"share": 0.3, "coef": SelfTuning(0.4, limits=(0.0, 5.0), start=1.0)}),
        Case("unlikeliness", {}),
        Case("unlikeliness", {"beta": SelfTuning(0.4, limits=(0.0, 1.0), start=0.25)}),
        Case("entropy_advantage", {}),
        Case("entropy_advantage", {"alpha": Linear(0.5, 0.0, 3)}),
        Case("only_tokens", {}),
        Case("only_tokens", {"samples": "negative", "discriminator": "negative"}),
    ]
    # Every other method by its defaults; those of MICRO take something from the micro-batch.
    covered = {case.name for case in cases}
    return cases + [Case(name, needed(name), micro=name in MICRO) for name in names() if name not in covered]


MICRO = {"clip_cov", "high_entropy_tokens", "siren", "stare", "wapo"}
"""Methods with a count, a share or a mean that their defaults take from the micro-batch."""


def needed(name: str) -> dict[str, Any]:
    """An example of every setting that a method insists on."""
    parameters = inspect.signature(factory(name)).parameters.values()
    return {p.name: EXAMPLES[p.name] for p in parameters if p.default is p.empty}


CASES = _cases()


@dataclass(frozen=True)
class Data:
    """Rows of a global batch as leaves: what a training step would hold before its forward pass."""

    logits_BTV: Tensor
    targets_BT: Tensor
    advantages_BT: Tensor
    mask_BT: Tensor
    old_logp_BT: Tensor | None
    rewards_B: Tensor
    groups_B: Tensor

    def rows(self, rows: slice) -> Data:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Data(**{n: None if v is None else v[rows] for n, v in values.items()})

    def batch(self, want: Iterable[Want] | None = None) -> TokenBatch:
        """With the statistics that are wanted; with all that any method asks for where nothing is said."""
        asked = everything() if want is None else list(want)
        stats = self._stats([each for each in asked if not isinstance(each, Old)])
        # The old policy's statistics: the present ones stand in for all but its log-probability.
        old = self._stats([each.of for each in asked if isinstance(each, Old)]).detach()
        if self.old_logp_BT is not None:
            old = dataclasses.replace(old, logp=self.old_logp_BT)
        return TokenBatch(stats, self.advantages_BT, self.mask_BT, self.old_logp_BT, self.rewards_B, self.groups_B, old)

    def _stats(self, want: Iterable[Want]) -> TokenStats:
        named = [each for each in want if isinstance(each, str)]
        other = [each for each in want if isinstance(each, Statistic)]
        stats = token_stats(self.logits_BTV, self.targets_BT, named)
        return dataclasses.replace(stats, extra=parameterized_stats(self.logits_BTV, self.targets_BT, other))

    def replace(self, **changes: Any) -> Data:
        return dataclasses.replace(self, **changes)


def data(
    seed: int = 0,
    rows: int = 8,
    tokens: int = 6,
    vocabulary: int = 7,
    dtype: torch.dtype = torch.float64,
    on_policy: bool = False,
    scale: float = 2.0,
) -> Data:
    """A batch of sampled tokens with lengths of their own, advantages of both signs and binary rewards."""
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, tokens, vocabulary, generator=draw, dtype=torch.float64)
    probs = logits.softmax(-1)
    targets = torch.multinomial(probs.flatten(0, 1), 1, generator=draw).view(rows, tokens)
    rewards = (torch.arange(rows) % 2).to(dtype)
    size = 0.5 + torch.rand(rows, generator=draw, dtype=torch.float64)
    advantages = (torch.where(rewards > 0, size, -size)).to(dtype)
    lengths = torch.randint(2, tokens + 1, (rows, 1), generator=draw)
    lengths[0] = tokens
    logp = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    old = None if on_policy else (logp + 0.2 * torch.randn(rows, tokens, generator=draw, dtype=torch.float64)).to(dtype)
    return Data(
        logits.to(dtype).requires_grad_(),
        targets,
        advantages.unsqueeze(1).expand(rows, tokens).contiguous(),
        (torch.arange(tokens) < lengths).long(),
        old,
        rewards,
        torch.arange(rows) // 2,
    )


@cache
def everything() -> list[Want]:
    """Every statistic that some method asks for by its defaults."""
    asked = {each for case in CASES for each in case().requires}
    return ["logp", "entropy", "baseline", "collision", *(each for each in asked if isinstance(each, Statistic))]


def split(whole: Data, parts: int) -> list[Data]:
    """The same rows as several micro-batches of equal size."""
    size = len(whole.mask_BT) // parts
    return [whole.rows(slice(i * size, (i + 1) * size)) for i in range(parts)]


def apply(control: EntropyControl, micro: Data, objective: Callable[[TokenBatch], Surrogate] = es.ppo) -> Surrogate:
    batch = micro.batch(control.method.requires)
    return control.apply(objective(batch), batch)


def in_threads(work: Callable[[int, Callable[[Tensor], Tensor]], T], ranks: int) -> list[T]:
    """`work(rank, all_reduce)` on several ranks at once, whose all-reduces meet."""
    meeting, vectors = threading.Barrier(ranks, timeout=30), [torch.zeros(0)] * ranks

    def of_rank(rank: int) -> T:
        def all_reduce(vector: Tensor) -> Tensor:
            vectors[rank] = vector.cpu()  # where a rank without a micro-batch has its zeros
            meeting.wait()
            total = torch.stack(vectors).sum(0)
            meeting.wait()
            return total

        with placed():
            return work(rank, all_reduce)

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(of_rank, range(ranks)))


def together(ranks: Sequence[EntropyControl]) -> list[dict[str, float]]:
    """`step` on several ranks at once."""
    return in_threads(lambda rank, all_reduce: ranks[rank].step(all_reduce), len(ranks))


_TRAINED: dict[str, EntropyControl] = {}


def trained(case: Callable[[], Chain], steps: int = 3, parts: int = 1) -> EntropyControl:
    """A control that has seen a few optimizer steps: a copy, where the same one was trained before."""
    key = f"{case!r} {steps} {parts}"
    if key not in _TRAINED:
        control = EntropyControl(case())
        for seed in range(steps):
            for micro in split(data(seed), parts):
                apply(control, micro)
            control.step()
        _TRAINED[key] = control
    return copy.deepcopy(_TRAINED[key])


def totals_of(chain: Chain, state: Any, *batches: TokenBatch) -> Totals:
    """The totals of one optimizer step."""
    pending = Pending(chain)
    for batch in batches:
        plain = es.ppo(batch)
        _, sums = chain.account(plain, batch, state)
        pending.add(es.summarize(batch, token_push(plain, batch) if chain.predicts else None), sums)
    return pending.totals(None)
