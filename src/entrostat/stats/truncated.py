"""Statistics with a parameter: entropies of a part of the vocabulary, log-probabilities after a filter or at another temperature.

Each is the formula in its record's docstring (`types.Nucleus` and its neighbors), written down from the full softmax in fp32 or
better. They need the whole row of the vocabulary, most of them sorted, so a host computes them a slice of tokens at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from entrostat.errors import ConfigError, DataError
from entrostat.stats.first_order import policy_entropy
from entrostat.types import (
    Clamped,
    LogpAt,
    MinP,
    Nucleus,
    Reheated,
    Statistic,
    TopKEntropy,
    TopLogp,
    Varentropy,
)

FILTERED_OUT = -1e4
"""In place of the log-probability of a token that a filter left out: finite, so that 0 times it is 0."""


def parameterized_stats(
    logits: Tensor, targets: Tensor, want: Iterable[Statistic], temperature: float = 1.0
) -> dict[Statistic, Tensor]:
    """What was asked for, by what was asked for.

    Args:
        logits: (..., V); -inf is a token that cannot be drawn.
        targets: (...), token ids.
        want: statistics of one policy; those without `gradient` carry none.
        temperature: that the policy is sampled at; `LogpAt` and `Reheated` divide once more.

    Returns:
        Tensors (...), `TopLogp` (..., k), in the logits' dtype and at least fp32. NaN where a row has no finite logit.

    Raises:
        ConfigError: a statistic that is none of the above.
        DataError: shapes that do not fit.
    """
    if tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise DataError(f"targets must have shape {tuple(logits.shape[:-1])}, got {tuple(targets.shape)}")
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    found: dict[Statistic, Tensor] = {}
    for each in want:
        with torch.set_grad_enabled(torch.is_grad_enabled() and getattr(each, "gradient", False)):
            found[each] = _value(each, wide / temperature, targets)
    return found


def in_chunks(
    logits_of: Callable[[slice], Tensor],
    targets_N: Tensor,
    want: Iterable[Statistic],
    temperature: float,
    chunk_tokens: int = 64,
) -> dict[Statistic, Tensor]:
    """`parameterized_stats`, a slice of tokens at a time; the backward makes the logits of a slice again.

    Args:
        logits_of: the logits (n, V) of some of the tokens.
        targets_N: token ids.
    """
    names = list(want)
    parts: list[tuple[Tensor, ...]] = []

    def some(rows: slice) -> tuple[Tensor, ...]:
        found = parameterized_stats(logits_of(rows), targets_N[rows], names, temperature)
        return tuple(found[name] for name in names)

    graph = torch.is_grad_enabled() and any(getattr(name, "gradient", False) for name in names)
    for first in range(0, max(len(targets_N), 1), chunk_tokens):
        rows = slice(first, first + chunk_tokens)
        with torch.set_grad_enabled(graph):
            parts.append(checkpoint(some, rows, use_reentrant=False) if graph else some(rows))
    return {name: torch.cat(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}


def _value(of: Statistic, z: Tensor, targets: Tensor) -> Tensor:
    match of:
        case Nucleus():
            return policy_entropy(z.masked_fill(~_nucleus(z, of), -torch.inf))
        case TopKEntropy(k=k):
            return policy_entropy(z.topk(min(k, z.shape[-1]), -1).values)
        case Clamped(dropped=dropped):
            kept = z.shape[-1] - int(z.shape[-1] * dropped)
            return policy_entropy(z.topk(max(kept, 1), -1).values)
        case MinP(kappa=kappa):
            logp = torch.log_softmax(z, -1)
            keep = logp >= logp.amax(-1, keepdim=True) + _log(kappa)
            filtered = torch.log_softmax(z.masked_fill(~keep, -torch.inf), -1)
            return _at(filtered, targets).clamp_min(FILTERED_OUT)
        case Varentropy():
            logp = torch.log_softmax(z, -1)
            p, safe = logp.exp(), logp.clamp_min(FILTERED_OUT)
            mean = (p * safe).sum(-1, keepdim=True)
            return (p * (safe - mean).square()).sum(-1)
        case LogpAt(temperature=temperature):
            return _at(torch.log_softmax(z / temperature, -1), targets)
        case TopLogp(k=k):
            return torch.log_softmax(z, -1).topk(min(k, z.shape[-1]), -1).values
        case Reheated(temperature=temperature):
            teacher = torch.softmax(z.detach() / temperature, -1)
            return -(teacher * torch.log_softmax(z, -1).clamp_min(FILTERED_OUT)).sum(-1)
    raise ConfigError(f"{of!r} is a statistic that has no function to compute it")


def _nucleus(z: Tensor, of: Nucleus) -> Tensor:
    """The likeliest tokens whose mass reaches `of.mass`, (..., V) booleans; at least one."""
    with torch.no_grad():
        ordered, order = torch.softmax(z, -1).sort(-1, descending=True)
        reached = ordered.cumsum(-1)
        # Before a token comes the mass of those ahead of it; the crossing one is the first that reaches the mass.
        inside = (reached - ordered < of.mass) if of.crossing else (reached < of.mass)
        inside[..., 0] = True
        if of.most:
            inside[..., of.most :] = False
        return torch.zeros_like(inside).scatter(-1, order, inside)


def _at(logp: Tensor, targets: Tensor) -> Tensor:
    return logp.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _log(kappa: float) -> float:
    return float(torch.tensor(kappa, dtype=torch.float64).log())
