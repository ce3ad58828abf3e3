"""`token_stats` against its definition: values, gradients, accuracy, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from device import DEVICE
from error_budget import assert_within, moved
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entrostat.errors import ConfigError, DataError
from entrostat.stats import reference_stats, token_stats
from entrostat.types import STATISTICS, TokenStats

SEEDS = st.integers(0, 2**31 - 1)


def sample(seed: int, *shape: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits.to(DEVICE, dtype), torch.randint(0, shape[-1], shape[:-1], generator=generator).to(DEVICE)


def by_numpy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """The definitions in NumPy: written apart from both implementations, with p log p taken over the support only."""
    z = logits.double().cpu().numpy() / temperature
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy = -(p * log_p).sum(-1)
    return {
        "logp": np.log(np.take_along_axis(p, targets.cpu().numpy()[..., None], -1)[..., 0]),
        "entropy": entropy,
        "baseline": (p**2 * (entropy[..., None] + log_p)).sum(-1),
        "collision": (p**2).sum(-1),
    }


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("shape", [(3, 5, 11), (4, 7), (1, 1, 2), (2, 3, 4, 5)])
def test_three_ways_agree_in_double(shape: tuple[int, ...], temperature: float) -> None:
    logits, targets = sample(0, *shape)
    ours = token_stats(logits, targets, STATISTICS, temperature)
    reference = reference_stats(logits, targets, temperature)
    for name, expected in by_numpy(logits, targets, temperature).items():
        assert ours.need(name).shape == shape[:-1]
        np.testing.assert_allclose(ours.need(name).cpu().numpy(), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(reference.need(name).cpu().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_only_what_is_wanted_is_there() -> None:
    logits, targets = sample(1, 2, 3, 5)
    for name in STATISTICS:
        stats = token_stats(logits, targets, name)
        assert stats.available() == {name}
        torch.testing.assert_close(stats.need(name), reference_stats(logits, targets).need(name))
    assert token_stats(logits, targets).available() == {"logp", "entropy"}
    assert token_stats(logits, targets, ()).available() == frozenset()


@given(seed=SEEDS, tokens=st.integers(1, 12), vocabulary=st.integers(1, 20), chunk=st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_chunk_size_does_not_matter(seed: int, tokens: int, vocabulary: int, chunk: int) -> None:
    logits, targets = sample(seed, tokens, vocabulary)
    one, many = (token_stats(logits, targets, STATISTICS, chunk_tokens=c) for c in (tokens, chunk))
    allowed = moved(logits, 0.0, torch.float64)
    for name in STATISTICS:
        assert_within(many.need(name), one.need(name), allowed[name])


@given(seed=SEEDS, vocabulary=st.integers(1, 30), scale=st.floats(0, 300), shift=st.floats(-50, 50))
@settings(max_examples=60, deadline=None)
def test_bounds_and_shift(seed: int, vocabulary: int, scale: float, shift: float) -> None:
    logits, targets = sample(seed, 6, vocabulary, scale=scale)
    stats = token_stats(logits, targets, STATISTICS)
    entropy, collision, logp = stats.need("entropy"), stats.need("collision"), stats.need("logp")
    assert (entropy >= 0).all() and (entropy <= math.log(vocabulary) + 1e-12).all()
    assert (collision >= 1 / vocabulary - 1e-12).all() and (collision <= 1 + 1e-12).all()
    assert (logp <= 1e-12).all()
    # Jensen: the collision entropy -log sum p^2 is never above the Shannon entropy.
    assert (-collision.log() <= entropy + 1e-9).all()
    moved = token_stats(logits + shift, targets, STATISTICS)
    for name in STATISTICS:
        torch.testing.assert_close(moved.need(name), stats.need(name), rtol=1e-10, atol=1e-10)


def test_temperature_divides_the_logits() -> None:
    logits, targets = sample(2, 4, 9)
    direct = token_stats(logits / 0.6, targets, STATISTICS)
    for name in STATISTICS:
        torch.testing.assert_close(token_stats(logits, targets, STATISTICS, 0.6).need(name), direct.need(name))
    # Hotter is flatter.
    entropies = [
        token_stats(logits, targets, temperature=t).need("entropy").mean() for t in (0.2, 0.5, 1.0, 2.0, 100.0)
    ]
    assert entropies == sorted(entropies) and entropies[-1] == pytest.approx(math.log(9), abs=1e-3)


def test_uniform_and_certain() -> None:
    targets = torch.zeros(1, dtype=torch.long)
    uniform = token_stats(torch.zeros(1, 8), targets, STATISTICS)
    assert uniform.need("entropy").item() == pytest.approx(math.log(8))
    assert uniform.need("baseline").item() == pytest.approx(0, abs=4 * torch.finfo(torch.float32).eps)
    assert uniform.need("collision").item() == pytest.approx(1 / 8)
    certain = token_stats(torch.tensor([[500.0, 0.0, 0.0]]), targets, STATISTICS)
    assert [certain.need(n).item() for n in STATISTICS] == [0, 0, 0, 1]


# ---- gradients


def grad(stats: TokenStats, logits: Tensor, weights: tuple[float, float]) -> Tensor:
    loss = weights[0] * stats.need("logp").sum() + weights[1] * stats.need("entropy").square().sum()
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("name", ["logp", "entropy"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_finite_differences(name: str, temperature: float) -> None:
    logits, targets = sample(3, 3, 2, 6)
    logits.requires_grad_()
    # Central differences in fp64: the error is h^2 from the cut series plus 1e-16 / h from rounding; h = 1e-6 leaves about
    # 1e-10, far below the tolerance.
    assert torch.autograd.gradcheck(
        lambda z: token_stats(z, targets, name, temperature, chunk_tokens=4).need(name),
        logits,
        eps=1e-6,
        atol=1e-8,
        rtol=1e-6,
    )


@given(seed=SEEDS, temperature=st.floats(0.2, 3), chunk=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_gradient_is_autograds(seed: int, temperature: float, chunk: int) -> None:
    logits, targets = sample(seed, 2, 4, 7)
    logits.requires_grad_()
    ours = token_stats(logits, targets, STATISTICS, temperature, chunk)
    theirs = reference_stats(logits, targets, temperature)
    assert not ours.need("baseline").requires_grad and not ours.need("collision").requires_grad
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.7, -0.3)):
        torch.testing.assert_close(
            torch.autograd.grad(_loss(ours, weights), logits, retain_graph=True)[0],
            torch.autograd.grad(_loss(theirs, weights), logits, retain_graph=True)[0],
            rtol=1e-10,
            atol=1e-12,
        )


def _loss(stats: TokenStats, weights: tuple[float, float]) -> Tensor:
    return weights[0] * stats.need("logp").sum() + weights[1] * stats.need("entropy").square().sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradient_keeps_the_logits_dtype(dtype: torch.dtype) -> None:
    logits, targets = sample(4, 3, 7, dtype=dtype)
    logits.requires_grad_()
    stats = token_stats(logits, targets)
    assert stats.need("logp").dtype == stats.need("entropy").dtype == torch.float32
    assert grad(stats, logits, (1.0, 1.0)).dtype == dtype


def test_a_token_without_a_gradient_gets_zeros_whatever_it_holds() -> None:
    logits, targets = sample(9, 4, 6, dtype=torch.float32)
    logits[1], logits[2, 3] = torch.nan, -torch.inf
    logits.requires_grad_()
    stats = token_stats(logits, targets)
    weights = torch.tensor([1.0, 0.0, -2.0, 0.0], device=DEVICE)
    ours = torch.autograd.grad((weights * (stats.need("logp") + stats.need("entropy"))).sum(), logits)[0]
    assert (ours[[1, 3]] == 0).all() and (ours[[0, 2]] != 0).any(1).all() and ours.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_token_ids_of_any_integer_dtype(dtype: torch.dtype) -> None:
    logits, targets = sample(8, 6, 6)
    assert torch.equal(token_stats(logits, targets.to(dtype)).need("logp"), token_stats(logits, targets).need("logp"))


# ---- masked vocabulary, NaN


@given(seed=SEEDS, kept=st.integers(1, 6), masked=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_masked_vocabulary_is_as_if_it_were_not_there(seed: int, kept: int, masked: int) -> None:
    small, targets = sample(seed, 5, kept)
    wide = torch.cat([small, small.new_full((5, masked), -torch.inf)], -1)
    small.requires_grad_(), wide.requires_grad_()
    ours, theirs = token_stats(wide, targets, STATISTICS), reference_stats(small, targets)
    for name in STATISTICS:
        torch.testing.assert_close(ours.need(name), theirs.need(name), rtol=1e-10, atol=1e-12)
    ours_grad, theirs_grad = grad(ours, wide, (1.0, 1.0)), grad(theirs, small, (1.0, 1.0))
    torch.testing.assert_close(ours_grad[:, :kept], theirs_grad, rtol=1e-9, atol=1e-11)
    assert (ours_grad[:, kept:] == 0).all()
    reference_grad = grad(reference_stats(wide, targets), wide, (1.0, 1.0))
    torch.testing.assert_close(reference_grad, ours_grad, rtol=1e-9, atol=1e-11)


def test_sampling_a_masked_token_has_log_probability_minus_infinity() -> None:
    stats = token_stats(torch.tensor([[0.0, -torch.inf, 1.0]]), torch.tensor([1]), STATISTICS)
    assert stats.need("logp").item() == -math.inf
    assert stats.discriminator.item() == 0
    assert math.isfinite(stats.centered.item())


def test_nan_and_rows_without_a_finite_logit() -> None:
    logits = torch.zeros(4, 5)
    logits[1, 2] = torch.nan
    logits[2] = -torch.inf
    stats = token_stats(logits, torch.zeros(4, dtype=torch.long), STATISTICS)
    for name in STATISTICS:
        assert stats.need(name).isnan().tolist() == [False, True, True, False], name


# ---- accuracy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "vocabulary"), [(64, 7), (2, 151_936)])
@pytest.mark.parametrize(("scale", "peak"), [(0.01, 0.0), (2.0, 0.0), (6.0, 0.0), (1.0, 14.0), (1.0, 22.0)])
def test_error_budget(dtype: torch.dtype, rows: int, vocabulary: int, scale: float, peak: float) -> None:
    """Ours lies no further from fp64 on the same rounded logits than the naive code in fp32 does, times 2.

    The peaks take the entropy down to 1e-7 nats (V = 7) and 4e-3 nats (V = 151,936), where it is a small difference.
    """
    logits, targets = sample(5, rows, vocabulary, scale=scale)
    logits[:, 3] += peak
    logits, targets[::2] = logits.to(dtype), 3
    truth, naive = reference_stats(logits.double(), targets), reference_stats(logits.float(), targets)
    ours = token_stats(logits, targets, STATISTICS)
    for name in STATISTICS:
        exact = truth.need(name)
        allowed = 2 * (naive.need(name) - exact).abs().max() + torch.finfo(torch.float32).eps * exact.abs().max()
        assert (ours.need(name) - exact).abs().max() <= allowed, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_error_budget(dtype: torch.dtype) -> None:
    logits, targets = sample(6, 2, 151_936, scale=1.0)
    logits[:, 3] += 14
    rounded = logits.to(dtype).requires_grad_()
    exact_in, naive_in = rounded.detach().double().requires_grad_(), rounded.detach().clone().requires_grad_()
    exact = grad(reference_stats(exact_in, targets), exact_in, (1.0, 1.0))
    naive = grad(reference_stats(naive_in.float(), targets), naive_in, (1.0, 1.0))
    ours = grad(token_stats(rounded, targets), rounded, (1.0, 1.0))
    assert (ours - exact).norm() <= 2 * (naive - exact).norm()


# ---- edges and refusals


@pytest.mark.parametrize("shape", [(0, 5, 7), (2, 0, 7), (0, 7)])
def test_no_tokens(shape: tuple[int, ...]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    stats = token_stats(logits, torch.zeros(shape[:-1], dtype=torch.long), STATISTICS)
    assert all(stats.need(n).shape == shape[:-1] for n in STATISTICS)
    assert grad(stats, logits, (1.0, 1.0)).shape == shape


def test_one_token_without_leading_shape() -> None:
    logits, target = torch.randn(7, generator=torch.Generator().manual_seed(0)), torch.tensor(2)
    stats = token_stats(logits, target, STATISTICS)
    assert stats.need("entropy").shape == ()
    torch.testing.assert_close(stats.need("logp"), torch.log_softmax(logits, -1)[2])


def test_not_contiguous() -> None:
    logits, targets = sample(7, 4, 6, 5)
    torch.testing.assert_close(
        token_stats(logits.transpose(0, 1), targets.t()).need("entropy"),
        token_stats(logits, targets).need("entropy").t(),
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"want": ["entropy", "varentropy"]}, ConfigError, "varentropy"),
        ({"temperature": 0.0}, ConfigError, r"temperature.*0\.0"),
        ({"temperature": -1.5}, ConfigError, r"temperature.*-1\.5"),
        ({"temperature": math.nan}, ConfigError, "temperature.*nan"),
        ({"temperature": math.inf}, ConfigError, "temperature.*inf"),
        ({"chunk_tokens": 0}, ConfigError, "chunk_tokens.*0"),
        ({"targets_BT": torch.zeros(2, 4, dtype=torch.long)}, DataError, r"\(2, 3\).*\(2, 4\)"),
        ({"targets_BT": torch.full((2, 3), 5)}, DataError, r"\[0, 5\).*5"),
        ({"targets_BT": torch.full((2, 3), -100)}, DataError, "-100"),
        ({"targets_BT": torch.zeros(2, 3)}, DataError, "float32"),
        ({"targets_BT": torch.zeros(2, 3, dtype=torch.bool)}, DataError, "bool"),
        ({"targets_BT": torch.full((2, 3), 7, dtype=torch.uint8)}, DataError, r"\[0, 5\).*7"),
        ({"logits_BTV": torch.zeros(2, 3, 5, dtype=torch.long)}, DataError, "int64"),
        ({"logits_BTV": torch.tensor(1.0)}, DataError, r"\(\)"),
    ],
)
def test_refusals_name_the_value(change: dict, error: type[Exception], message: str) -> None:
    good = {"logits_BTV": torch.zeros(2, 3, 5), "targets_BT": torch.zeros(2, 3, dtype=torch.long)}
    with pytest.raises(error, match=message):
        token_stats(**(good | change))
