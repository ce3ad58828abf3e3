"""`token_stats_from_hidden`: one contract, kept by every implementation that can run here.

The Triton kernels take part where there is CUDA, or under TRITON_INTERPRET=1 (see test_triton_interpreter.py).
"""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
from device import DEVICE
from error_budget import assert_within, budget, moved, product
from torch import Tensor

from entrostat.stats import reference_stats, token_stats, token_stats_from_hidden
from entrostat.types import STATISTICS, TokenStats

TRITON = pytest.param(
    "triton",
    marks=pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1" and DEVICE != "cuda",
        reason="needs CUDA or the interpreter",
    ),
)
EVERY = pytest.mark.parametrize("implementation", ["torch", TRITON, "reference"])


def case(
    tokens: int, vocabulary: int, width: int = 8, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
    weight = scale * torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    return hidden.to(DEVICE, dtype), weight.to(DEVICE, dtype), targets.to(DEVICE)


def loss(stats: TokenStats) -> Tensor:
    """A policy-gradient term and an entropy term, with a weight of its own for each token."""
    logp, entropy = stats.need("logp"), stats.need("entropy")
    weights = torch.linspace(-1, 1, max(logp.numel(), 1), device=logp.device)[: logp.numel()].view(logp.shape)
    return (weights * logp).sum() + entropy.square().sum()


def logits_of(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    z = hidden.double() @ weight.double().t()
    z = scale * (z if bias is None else z + bias.double())
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def by_definition(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> TokenStats:
    return reference_stats(logits_of(hidden, weight, bias, scale, softcap), targets, temperature)


def assert_values(stats: TokenStats, hidden: Tensor, weight: Tensor, targets: Tensor, **options: Any) -> None:
    """Every statistic that is there, within what rounding allows."""
    options = {name: value for name, value in options.items() if value is not None}
    truth = by_definition(hidden, weight, targets, **options)
    with torch.no_grad():
        temperature, bias, scale = options.pop("temperature", 1.0), options.get("bias"), options.get("scale", 1.0)
        # tanh moves its value by less than its argument was.
        error = scale * (product(hidden, weight.t()) + (0.0 if bias is None else budget(bias.double().abs(), 1)))
        allowed = moved(logits_of(hidden, weight, **options) / temperature, error.nan_to_num(0, 0, 0) / temperature)
    for name in sorted(stats.available()):
        assert_within(stats.need(name), truth.need(name), allowed[name])


@EVERY
@pytest.mark.parametrize("shape", [(5, 7), (1, 300), (17, 65), (3, 1), (0, 7), (2, 151_936)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7, "bias_V": True},
        {"logit_scale": 0.3, "softcap": 5.0, "bias_V": True, "temperature": 1.3},
    ],
    ids=["plain", "bias", "softcap"],
)
def test_values_and_gradients(implementation: str, shape: tuple[int, int], options: dict) -> None:
    hidden, weight, targets = case(*shape)
    bias = torch.linspace(-1, 1, shape[1], device=DEVICE).requires_grad_() if options.get("bias_V") else None
    inputs = [hidden.requires_grad_(), weight.requires_grad_()] + ([] if bias is None else [bias])
    ours = token_stats_from_hidden(
        hidden,
        weight,
        targets,
        STATISTICS,
        implementation=implementation,
        tile_vocabulary=tile(implementation),
        **(options | {"bias_V": bias}),
    )
    truth = by_definition(
        hidden,
        weight,
        targets,
        options.get("temperature", 1.0),
        bias,
        options.get("logit_scale", 1.0),
        options.get("softcap"),
    )
    for name in STATISTICS:
        value = ours.need(name)
        assert value.shape == shape[:1] and value.dtype == torch.float32
        assert value.requires_grad == (name in ("logp", "entropy")), name
    chosen = {"temperature": options.get("temperature"), "scale": options.get("logit_scale"), "bias": bias}
    assert_values(ours, hidden, weight, targets, softcap=options.get("softcap"), **chosen)
    grads = torch.autograd.grad(loss(ours), inputs)
    exact = torch.autograd.grad(loss(truth), inputs)
    for grad, expected, allowed in zip(
        grads, exact, gradient_budgets(hidden, weight, targets, bias, options), strict=False
    ):
        assert_within(grad, expected, allowed)


def gradient_budgets(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None, options: dict | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What rounding allows the gradients of the hidden states, the weights and the bias to be off by.

    Each is a sum of products with the gradient of the logits, (p_i - 1[i = k]) from the log-probability and p_i (log p_i + H)
    from the entropy; that gradient's own terms are taken by their sizes, since they cancel.
    """
    options = options or {}
    scale, temperature = options.get("logit_scale", 1.0), options.get("temperature", 1.0)
    with torch.no_grad():
        z = hidden.double() @ weight.double().t()
        z = scale * (z if bias is None else z + bias.double())
        cap = options.get("softcap")
        logp = torch.log_softmax((z if cap is None else cap * torch.tanh(z / cap)) / temperature, -1)
        p, spread = logp.exp(), logp.abs()
        entropy = (p * spread).sum(-1, keepdim=True)
        slope = torch.nn.functional.one_hot(targets, z.shape[1]) + p + 2 * entropy * p * (spread + entropy)
        # The exponent is off by eps times its own size, which the exponential turns into a relative error.
        slope = scale / temperature * slope * (1 + z.abs() / temperature)
        return (
            budget(slope @ weight.double().abs(), weight.shape[0]),
            budget(slope.t() @ hidden.double().abs(), hidden.shape[0] + weight.shape[0]),
            budget(slope.sum(0), hidden.shape[0] + weight.shape[0]),
        )


@EVERY
def test_only_what_is_wanted_is_there(implementation: str) -> None:
    hidden, weight, targets = case(4, 50)
    for name in STATISTICS:
        stats = token_stats_from_hidden(hidden, weight, targets, name, implementation=implementation)
        assert stats.available() == {name}
        assert_values(stats, hidden, weight, targets)
    assert token_stats_from_hidden(hidden, weight, targets, implementation=implementation).available() == {
        "logp",
        "entropy",
    }
    assert (
        token_stats_from_hidden(hidden, weight, targets, (), implementation=implementation).available() == frozenset()
    )


@EVERY
@pytest.mark.parametrize("name", ["logp", "entropy"])
def test_gradient_of_one_statistic_alone(implementation: str, name: str) -> None:
    hidden, weight, targets = case(6, 40)
    hidden.requires_grad_()
    ours = token_stats_from_hidden(hidden, weight, targets, STATISTICS, implementation=implementation).need(name).sum()
    expected = by_definition(hidden, weight, targets).need(name).sum()
    assert_within(
        torch.autograd.grad(ours, hidden)[0],
        torch.autograd.grad(expected, hidden)[0],
        gradient_budgets(hidden, weight, targets)[0],
    )


@EVERY
def test_tiles_do_not_matter(implementation: str) -> None:
    hidden, weight, targets = case(4, 23)
    hidden.requires_grad_(), weight.requires_grad_()
    for tile_tokens, tile_vocabulary in ((3, 5), (4, 22), (2, 1000)):
        tiled = token_stats_from_hidden(
            hidden, weight, targets, STATISTICS, implementation=implementation,
            tile_tokens=tile_tokens, tile_vocabulary=tile_vocabulary,
        )  # fmt: skip
        assert_values(tiled, hidden, weight, targets)
        for grad, expected, allowed in zip(
            torch.autograd.grad(loss(tiled), (hidden, weight)),
            torch.autograd.grad(loss(by_definition(hidden, weight, targets)), (hidden, weight)),
            gradient_budgets(hidden, weight, targets),
            strict=False,
        ):
            assert_within(grad, expected, allowed)


@EVERY
def test_mask(implementation: str) -> None:
    hidden, weight, targets = case(6, 40)
    hidden[1], targets[1] = torch.nan, -100  # what lies under a masked token does not matter
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]], device=DEVICE)
    hidden_BTd = hidden.view(2, 3, -1).requires_grad_()
    hidden_BTd.data[1, 0] = torch.nan
    stats = token_stats_from_hidden(
        hidden_BTd, weight, targets.view(2, 3), STATISTICS, mask_BT=mask, implementation=implementation
    )
    rows = mask.view(-1).bool()
    for name in STATISTICS:
        value = stats.need(name)
        assert value.shape == (2, 3) and (value[mask == 0] == 0).all()
    kept = TokenStats(**{name: stats.need(name)[mask == 1] for name in STATISTICS})
    assert_values(kept, hidden.view(6, -1)[rows], weight, targets[rows])
    (grad,) = torch.autograd.grad(loss(stats), hidden_BTd)
    assert grad.isfinite().all() and (grad[mask == 0] == 0).all()


@EVERY
def test_nothing_left_by_the_mask(implementation: str) -> None:
    hidden, weight, targets = case(3, 11)
    hidden.requires_grad_(), weight.requires_grad_()
    stats = token_stats_from_hidden(
        hidden, weight, targets, STATISTICS, mask_BT=torch.zeros(3, device=DEVICE), implementation=implementation
    )
    assert all((stats.need(name) == 0).all() for name in STATISTICS)
    assert all((grad == 0).all() for grad in torch.autograd.grad(loss(stats), (hidden, weight)))


@EVERY
def test_tied_embedding_adds_both_gradients(implementation: str) -> None:
    embedding = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).to(DEVICE).requires_grad_()
    ids, targets = torch.tensor([1, 4, 4], device=DEVICE), torch.tensor([4, 0, 8], device=DEVICE)
    ours = token_stats_from_hidden(embedding[ids], embedding, targets, implementation=implementation)
    truth = by_definition(embedding[ids], embedding, targets)
    of_hidden, of_weight, _ = gradient_budgets(embedding[ids].detach(), embedding.detach(), targets)
    assert_within(
        torch.autograd.grad(loss(ours), embedding)[0],
        torch.autograd.grad(loss(truth), embedding)[0],
        of_weight.index_add(0, ids, of_hidden),
    )


@EVERY
def test_masked_vocabulary_is_as_if_it_were_not_there(implementation: str) -> None:
    hidden, weight, targets = case(3, 30)
    targets = targets.clamp(max=9) + 10  # entries 10 to 19 stay; the first tile of the loop below has none
    bias = torch.full((30,), -torch.inf, device=DEVICE)
    bias[10:20] = 0.5
    hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    truth = by_definition(hidden, weight[10:20], targets - 10)
    for tile in (8, 30):
        ours = token_stats_from_hidden(
            hidden, weight, targets, STATISTICS, bias_V=bias, tile_vocabulary=tile, implementation=implementation
        )
        assert_values(ours, hidden, weight[10:20], targets - 10, bias=bias[10:20])
        ours_grad = torch.autograd.grad(loss(ours), (hidden, weight, bias))
        truth_grad = torch.autograd.grad(loss(truth), (hidden, weight), retain_graph=True)
        of_hidden, of_weight, _ = gradient_budgets(hidden, weight[10:20], targets - 10, bias[10:20])
        assert_within(ours_grad[0], truth_grad[0], of_hidden)
        assert_within(ours_grad[1][10:20], truth_grad[1][10:20], of_weight)
        assert (ours_grad[1][:10] == 0).all() and (ours_grad[1][20:] == 0).all()
        assert (ours_grad[2][:10] == 0).all() and (ours_grad[2][20:] == 0).all()


@EVERY
def test_sampling_a_masked_token(implementation: str) -> None:
    hidden, weight, _ = case(2, 5)
    bias = torch.tensor([0.0, -torch.inf, 0, 0, 0], device=DEVICE)
    stats = token_stats_from_hidden(
        hidden, weight, torch.tensor([1, 1], device=DEVICE), STATISTICS, bias_V=bias, implementation=implementation
    )
    assert stats.need("logp").tolist() == [-math.inf] * 2
    assert stats.centered.isfinite().all()


@EVERY
def test_nan_and_rows_without_a_finite_logit(implementation: str) -> None:
    hidden, weight, targets = case(3, 40)
    hidden[1, 2] = torch.nan
    for tile in (7, 40):
        stats = token_stats_from_hidden(
            hidden, weight, targets, STATISTICS, tile_vocabulary=tile, implementation=implementation
        )
        empty = token_stats_from_hidden(
            hidden[::2], weight, targets[::2], STATISTICS, bias_V=torch.full((40,), -torch.inf, device=DEVICE),
            tile_vocabulary=tile, implementation=implementation,
        )  # fmt: skip
        for name in STATISTICS:
            assert stats.need(name).isnan().tolist() == [False, True, False], name
            assert empty.need(name).isnan().all(), name


@EVERY
def test_strided_inputs(implementation: str) -> None:
    """Slices of larger tensors, as a trainer cuts them: kernels that count rows themselves would read their neighbors."""
    hidden, weight, _ = case(6, 40)
    hidden_wide = torch.stack([hidden, -hidden], 1).repeat(1, 1, 2)
    weight_wide = torch.stack([weight, -weight], 1)
    ids = torch.tensor([[9, 1], [9, 2], [9, 3], [9, 4], [9, 5], [9, 39]], device=DEVICE)
    targets = ids[:, -1:]
    strided = hidden_wide[:, :1, :8].requires_grad_(), weight_wide[:, 0].requires_grad_()
    assert not targets.is_contiguous() and not strided[0].is_contiguous() and not strided[1].is_contiguous()
    ours = token_stats_from_hidden(*strided, targets, STATISTICS, implementation=implementation)
    flat = TokenStats(**{name: ours.need(name)[:, 0] for name in STATISTICS})
    assert_values(flat, hidden, weight, ids[:, 1])
    plain = hidden.requires_grad_(), weight.requires_grad_()
    # A gradient that arrives expanded, as that of a sum does, is strided too.
    grads = torch.autograd.grad(ours.need("logp").sum() + ours.need("entropy").sum(), strided)
    truth = by_definition(hidden, weight, ids[:, 1])
    expected = torch.autograd.grad(truth.need("logp").sum() + truth.need("entropy").sum(), plain)
    of_hidden, of_weight, _ = gradient_budgets(hidden, weight, ids[:, 1])
    assert_within(grads[0][:, 0], expected[0], of_hidden)
    assert_within(grads[1], expected[1], of_weight)


@EVERY
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_token_ids_of_any_integer_dtype(implementation: str, dtype: torch.dtype) -> None:
    hidden, weight, targets = case(6, 40)
    found, expected = (
        token_stats_from_hidden(hidden, weight, ids, STATISTICS, implementation=implementation)
        for ids in (targets.to(dtype), targets)
    )
    assert all(torch.equal(found.need(name), expected.need(name)) for name in STATISTICS)


@EVERY
def test_a_token_without_a_gradient_may_hold_nan(implementation: str) -> None:
    hidden, weight, targets = case(4, 40)
    hidden[1] = torch.nan
    hidden.requires_grad_(), weight.requires_grad_()
    stats = token_stats_from_hidden(hidden, weight, targets, implementation=implementation)
    kept = torch.tensor([True, False, True, True], device=DEVICE)
    total = (stats.need("logp") + stats.need("entropy")).masked_fill(~kept, 0).sum()
    of_hidden, of_weight = torch.autograd.grad(total, (hidden, weight))
    if implementation == "reference":  # its product is autograd's, which multiplies the zero by what the token holds
        return
    assert (of_hidden[1] == 0).all() and of_hidden.isfinite().all() and of_weight.isfinite().all()


# ---- accuracy

# Entropies of about 1e-4, 1e-2, 1, and 10 nats (V = 151,936), by how far one token stands out.
WIDE = 1 << 16
# The interpreter takes its time for every row of every tile, and the kernels see fp32 products whatever the factors' dtype: one
# dtype there, at both ends of the entropies.
SLOW = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, *([] if SLOW else [torch.float32, torch.float16])])
PEAKS = [(26.0, 1e-4), (21.0, 1e-2), (15.5, 1.0), (0.0, 10.0)][:: 3 if SLOW else 1]


def tile(implementation: str) -> int | None:
    """The interpreter takes its time for each tile; a card spills the registers of so wide a row."""
    return WIDE if implementation == "triton" and SLOW else None


def peaked(dtype: torch.dtype, peak: float) -> tuple[Tensor, Tensor, Tensor]:
    hidden, weight, targets = case(4, 151_936, 16, scale=0.25)
    hidden[:, 0], weight[:, 0] = 2.0, 0.0
    weight[77_000, 0] = peak / 2
    targets[:2] = 77_000
    return hidden.to(dtype), weight.to(dtype), targets


@pytest.mark.parametrize("implementation", ["torch", TRITON])
@DTYPES
def test_error_budget(implementation: str, dtype: torch.dtype) -> None:
    """No further from fp64 on the same rounded factors than the naive code in fp32, times 2: whatever the factors' dtype."""
    for peak, entropy in PEAKS:
        hidden, weight, targets = peaked(dtype, peak)
        exact = by_definition(hidden, weight, targets)
        assert entropy / 5 < exact.need("entropy").mean() < 5 * entropy
        naive = reference_stats(hidden.float() @ weight.float().t(), targets)
        ours = token_stats_from_hidden(
            hidden, weight, targets, STATISTICS, implementation=implementation, tile_vocabulary=tile(implementation)
        )
        for name in STATISTICS:
            truth = exact.need(name)
            allowed = (
                2 * (naive.need(name) - truth).abs().max() + 2 * torch.finfo(torch.float32).eps * truth.abs().max()
            )
            assert (ours.need(name) - truth).abs().max() <= allowed, (name, entropy)


@pytest.mark.parametrize("implementation", ["torch", TRITON])
@DTYPES
def test_gradient_error_budget(implementation: str, dtype: torch.dtype) -> None:
    """No further from fp64 than the naive code in the factors' own dtype: logits and their gradient rounded to it."""
    for peak, _ in PEAKS:
        hidden, weight, targets = peaked(dtype, peak)
        hidden.requires_grad_(), weight.requires_grad_()
        exact = torch.autograd.grad(loss(by_definition(hidden, weight, targets)), (hidden, weight))
        naive = torch.autograd.grad(loss(reference_stats((hidden @ weight.t()).float(), targets)), (hidden, weight))
        ours = torch.autograd.grad(
            loss(
                token_stats_from_hidden(
                    hidden, weight, targets, implementation=implementation, tile_vocabulary=tile(implementation)
                )
            ),
            (hidden, weight),
        )
        for mine, theirs, truth in zip(ours, naive, exact, strict=True):
            assert mine.dtype == dtype
            floor = torch.finfo(dtype).eps * truth.double().norm()
            assert (mine.double() - truth).norm() <= 2 * (theirs.double() - truth).norm() + floor


@pytest.mark.parametrize("implementation", ["torch", TRITON])
@pytest.mark.parametrize("top", [0.0, 40.0, 200.0, 1e5])
def test_near_certain_tokens(implementation: str, top: float) -> None:
    """Gradients at 1 - p down to 1e-6 and logits as large as one likes are right to the last digits of fp32."""
    for gap in (1e-6,) if SLOW else (1e-2, 1e-4, 1e-6):
        generator = torch.Generator().manual_seed(0)
        z = 0.5 * torch.randn(4, 100, generator=generator, dtype=torch.float64)
        z[:, 0] = z[:, 1:].logsumexp(1) - math.log(gap)
        z = (z + (top - z[:, :1])).float().to(DEVICE).requires_grad_()
        targets, eye = torch.zeros(4, dtype=torch.long, device=DEVICE), torch.eye(100, device=DEVICE)
        stats = token_stats_from_hidden(z, eye, targets, implementation=implementation, tile_vocabulary=64)
        near_certain(stats, token_stats(z, targets), z, targets)


def near_certain(*every: Any) -> None:
    *found, z, targets = every
    wide = z.detach().double().requires_grad_()
    truth = reference_stats(wide, targets)
    for name in ("logp", "entropy"):
        (expected,) = torch.autograd.grad(truth.need(name).sum(), wide, retain_graph=True)
        for stats in found:
            (grad,) = torch.autograd.grad(stats.need(name).sum(), z, retain_graph=True)
            # Each entry is one exponential, whose argument's error (half a digit of logits as large as their spread) it
            # turns into a relative one, times a factor.
            allowed = torch.finfo(torch.float32).eps * (8 + 2 * (z - z.amax(1, True)).abs().amax(1, True))
            assert_within(grad, expected, allowed * expected.abs().amax(1, True))


def test_small_entropy_in_bf16_is_no_worse_than_in_fp32() -> None:
    """The logits are never rounded to bf16, which moves an entropy of 0.01 nats by several per cent."""
    hidden, weight, targets = peaked(torch.bfloat16, 21.0)
    exact = by_definition(hidden, weight, targets).need("entropy")
    ours = token_stats_from_hidden(hidden, weight, targets).need("entropy")
    rounded = token_stats(hidden @ weight.t(), targets).need("entropy")
    assert ((ours - exact) / exact).abs().max() < 1e-4
    assert ((rounded - exact) / exact).abs().max() > 1e-3
