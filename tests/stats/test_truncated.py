"""Statistics with a parameter against their definitions in plain Python, token by token."""

from __future__ import annotations

import math

import pytest
import torch

from entrostat.errors import ConfigError, DataError
from entrostat.stats import token_stats, token_stats_from_hidden
from entrostat.stats.truncated import FILTERED_OUT, parameterized_stats
from entrostat.types import Clamped, LogpAt, MinP, Nucleus, Old, Reheated, Statistic, TopKEntropy, TopLogp, Varentropy

V = 9


def entropy(ps: list[float]) -> float:
    total = sum(ps)
    return -sum(p / total * math.log(p / total) for p in ps if p)


def expected(of: Statistic, p: list[float], token: int) -> float:
    ordered = sorted(p, reverse=True)
    if isinstance(of, Nucleus):
        kept: list[float] = []
        for q in ordered:
            crosses = sum(kept) + q >= of.mass
            if crosses and not of.crossing:
                break
            kept.append(q)
            if crosses or (of.most and len(kept) == of.most):
                break
        return entropy(kept or ordered[:1])
    if isinstance(of, TopKEntropy):
        return entropy(ordered[: of.k])
    if isinstance(of, Clamped):
        return entropy(ordered[: V - int(V * of.dropped)])
    if isinstance(of, MinP):
        kept = [q for q in p if q >= of.kappa * max(p)]
        return math.log(p[token] / sum(kept)) if p[token] >= of.kappa * max(p) else FILTERED_OUT
    if isinstance(of, Varentropy):
        return sum(q * (math.log(q) + entropy(p)) ** 2 for q in p if q)
    if isinstance(of, LogpAt):
        hot = [q ** (1 / of.temperature) for q in p]
        return math.log(hot[token] / sum(hot))
    assert isinstance(of, Reheated)
    hot = [q ** (1 / of.temperature) for q in p]
    return -sum(h / sum(hot) * math.log(q) for h, q in zip(hot, p, strict=True) if q)


EVERY = [
    Nucleus(0.8),
    Nucleus(0.8, crossing=False),
    Nucleus(0.99, most=3),
    Nucleus(1.0),
    TopKEntropy(3),
    TopKEntropy(50),
    Clamped(0.3),
    Clamped(0.0),
    MinP(0.2),
    MinP(0.0),
    Varentropy(),
    LogpAt(1.3),
    LogpAt(0.7),
    Reheated(1.5),
]


@pytest.mark.parametrize("of", EVERY, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_by_definition(of: Statistic, masked: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    z = 2 * torch.randn(4, 5, V, generator=generator, dtype=torch.float64)
    if masked:
        z[..., 2] = -torch.inf
    targets = torch.randint(3, V, (4, 5), generator=generator)
    (found,) = parameterized_stats(z, targets, [of], temperature=0.8).values()
    p = torch.softmax(z / 0.8, -1)
    for i in range(4):
        for t in range(5):
            want = expected(of, p[i, t].tolist(), int(targets[i, t]))
            assert found[i, t].item() == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_the_largest_log_probabilities_come_in_order() -> None:
    z = torch.tensor([[0.0, 2.0, -1.0, 1.0]], dtype=torch.float64)
    (found,) = parameterized_stats(z, torch.tensor([0]), [TopLogp(2)]).values()
    torch.testing.assert_close(found, torch.log_softmax(z, -1)[:, [1, 3]])


@pytest.mark.parametrize(
    "of",
    [
        Nucleus(0.8, gradient=True),
        TopKEntropy(3, gradient=True),
        Clamped(0.3, gradient=True),
        LogpAt(1.3, gradient=True),
        Reheated(1.5, gradient=True),
    ],
    ids=str,
)
def test_gradients_are_right_and_only_where_asked_for(of: Statistic) -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(3, V, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 2])

    def value(logits: torch.Tensor) -> torch.Tensor:
        return parameterized_stats(logits, targets, [of])[of].sum()

    if isinstance(of, Reheated):  # its teacher is a constant
        gradient = torch.autograd.grad(value(z), z)[0]
        teacher, student = torch.softmax(z / 1.5, -1), torch.softmax(z, -1)
        torch.testing.assert_close(gradient, (student - teacher).detach())
    else:
        # Central differences in fp64: h^2 from the cut series plus 1e-16 / h from rounding; h = 1e-6 leaves about 1e-9.
        assert torch.autograd.gradcheck(value, z, eps=1e-6, atol=1e-7)
    plain = type(of)(**{k: v for k, v in vars(of).items() if k != "gradient"})
    assert not parameterized_stats(z, targets, [plain])[plain].requires_grad


def test_half_precision_is_worked_out_in_single() -> None:
    z = torch.randn(6, V, generator=torch.Generator().manual_seed(3)).bfloat16()
    targets = torch.zeros(6, dtype=torch.long)
    (half,) = parameterized_stats(z, targets, [Nucleus(0.8)]).values()
    (single,) = parameterized_stats(z.float(), targets, [Nucleus(0.8)]).values()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single)


def test_what_is_none_of_them_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no function to compute it"):
        parameterized_stats(torch.zeros(1, V), torch.zeros(1, dtype=torch.long), [Statistic()])
    with pytest.raises(DataError, match="targets must have shape"):
        parameterized_stats(torch.zeros(2, V), torch.zeros(1, dtype=torch.long), [Varentropy()])


@pytest.mark.parametrize(
    "of", [Nucleus(0.7, gradient=True), Clamped(0.4, gradient=True), TopLogp(2), Varentropy()], ids=str
)
def test_both_ways_to_the_statistics_give_them(of: Statistic) -> None:
    """From logits and from hidden states, a slice at a time, with the gradient of one piece."""
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(2, 70, 5, generator=draw, dtype=torch.float64)
    weight = torch.randn(V, 5, generator=draw, dtype=torch.float64)
    targets = torch.randint(V, (2, 70), generator=draw)
    mask = torch.rand(2, 70, generator=draw) < 0.8
    leaves = [hidden.clone().requires_grad_() for _ in range(3)]
    whole = parameterized_stats(leaves[0] @ weight.t(), targets, [of], 0.8)[of]
    chunked = token_stats(leaves[1] @ weight.t(), targets, ("logp", of), 0.8, chunk_tokens=32).need(of)
    direct = token_stats_from_hidden(leaves[2], weight, targets, ("logp", of), 0.8, mask_BT=mask).need(of)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(direct[mask], whole[mask])
    assert not direct[~mask].any()
    if getattr(of, "gradient", False):
        gradients = [
            torch.autograd.grad(v[mask].sum(), leaf)[0]
            for v, leaf in zip((whole, chunked, direct), leaves, strict=True)
        ]
        torch.testing.assert_close(gradients[1], gradients[0])
        torch.testing.assert_close(gradients[2], gradients[0])
    else:
        assert not chunked.requires_grad and not direct.requires_grad


def test_a_statistic_of_the_old_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="in the forward pass of that policy"):
        token_stats(torch.zeros(1, V), torch.zeros(1, dtype=torch.long), ("logp", Old("entropy")))
