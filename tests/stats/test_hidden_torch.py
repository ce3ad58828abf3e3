"""`token_stats_from_hidden`: what concerns the PyTorch tiles alone, and what is refused."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from device import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.errors import ConfigError, DataError
from entrostat.stats import token_stats_from_hidden
from entrostat.stats.online import SUMS, OnlineSoftmax, combine
from entrostat.stats.tiles import Tiling, TorchOps
from entrostat.types import STATISTICS


def inputs(dtype: torch.dtype = torch.float64, tokens: int = 5, vocabulary: int = 11) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((tokens, 4), (vocabulary, 4), (vocabulary,))
    ]
    return [tensor.requires_grad_() for tensor in made]


@pytest.mark.parametrize("name", ["logp", "entropy"])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_finite_differences(name: str, softcap: float | None) -> None:
    # Central differences in fp64: the error is h^2 from the cut series plus 1e-16 / h from rounding; h = 1e-6 leaves
    # about 1e-10, far below the tolerance.
    assert torch.autograd.gradcheck(
        lambda h, w, b: token_stats_from_hidden(
            h, w, torch.tensor([0, 3, 10, 10, 7]), name, 0.8, b, 1.2, softcap, tile_tokens=2, tile_vocabulary=4
        ).need(name),
        inputs(),
        eps=1e-6,
        atol=1e-8,
        rtol=1e-6,
    )


@given(cuts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 1000), spread=st.floats(0, 100))
@settings(max_examples=30, deadline=None)
def test_parts_of_a_vocabulary_combine_in_any_order(cuts: list[int], seed: int, spread: float) -> None:
    logits = spread * torch.randn(3, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    targets, want = torch.tensor([0, 12, 29]), frozenset(STATISTICS)

    def state(start: int, stop: int) -> torch.Tensor:
        softmax = OnlineSoftmax(3, want, torch.float64, logits.device)
        if stop > start:
            softmax.fold(logits[:, start:stop].clone(), targets, start)
        return softmax.state

    edges = sorted({0, 30, *cuts})
    parts = [state(*edge) for edge in pairwise(edges)]
    whole = state(0, 30)
    assert whole.shape == (len(SUMS), 3)
    torch.testing.assert_close(combine(torch.stack(parts)), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(combine(torch.stack(parts[::-1])), whole, rtol=1e-10, atol=1e-12)


def test_tokens_without_a_gradient_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias = inputs(torch.float32)
    seen: list[int] = []
    plain = TorchOps.gradient

    def watched(self: TorchOps, tile: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(tile))
        return plain(self, tile, *rest)

    monkeypatch.setattr(TorchOps, "gradient", watched)
    stats = token_stats_from_hidden(
        hidden, weight, torch.zeros(5, dtype=torch.long), bias_V=bias, implementation="torch"
    )
    advantages = torch.tensor([0.0, 2.0, 0.0, -1.0, 0.0])
    grads = torch.autograd.grad((advantages * stats.need("logp")).sum(), (hidden, weight, bias))
    assert seen == [2]
    logp = torch.log_softmax(hidden @ weight.t() + bias, -1)[:, 0]
    for grad, expected in zip(
        grads, torch.autograd.grad((advantages * logp).sum(), (hidden, weight, bias)), strict=True
    ):
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)


def test_masked_rows_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _ = inputs(torch.float32)
    seen: list[int] = []
    plain = TorchOps.fold

    def watched(self: TorchOps, softmax: OnlineSoftmax, tile: torch.Tensor, *rest: Any) -> None:
        seen.append(len(tile))
        plain(self, softmax, tile, *rest)

    monkeypatch.setattr(TorchOps, "fold", watched)
    mask = torch.tensor([0, 1, 0, 1, 1])
    token_stats_from_hidden(hidden, weight, torch.zeros(5, dtype=torch.long), mask_BT=mask, implementation="torch")
    assert seen == [3]


@pytest.mark.skipif(DEVICE == "elsewhere", reason="a device of Python's has no kernels under autocast")
def test_autocast_rounds_the_factors_as_the_models_head_would() -> None:
    hidden, weight, _ = inputs(torch.float32)
    targets = torch.zeros(5, dtype=torch.long)
    with torch.autocast(hidden.device.type, torch.bfloat16):
        stats = token_stats_from_hidden(hidden, weight, targets)
    rounded = token_stats_from_hidden(hidden.bfloat16(), weight.bfloat16(), targets)
    assert torch.equal(stats.need("entropy"), rounded.need("entropy"))
    # The backward runs outside of autocast, as is usual, and still knows.
    ours = torch.autograd.grad(stats.need("logp").sum(), weight)[0]
    theirs = torch.autograd.grad(rounded.need("logp").sum(), weight)[0]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=5e-3)  # casting to bf16 rounds the other gradient


@pytest.mark.filterwarnings("default")  # torch.compile's own, at each break of the graph
@pytest.mark.skipif(DEVICE != "cpu", reason="torch.compile does not look through the mode that puts tensors elsewhere")
def test_torch_compile_leaves_the_tiles_as_they_are() -> None:
    hidden, weight, _ = inputs(torch.float32)
    targets, traced = torch.tensor([0, 3, 10, 10, 7]), []

    def surrogate() -> torch.Tensor:
        stats = token_stats_from_hidden(2 * hidden, weight, targets)
        return (stats.need("logp") + stats.need("entropy").sin()).sum()

    def backend(module: Any, _: Any) -> Any:
        traced.extend(str(node.target) for node in module.graph.nodes)
        return module

    compiled = torch.compile(surrogate, backend=backend)()
    found, expected = (torch.autograd.grad(loss, (hidden, weight)) for loss in (compiled, surrogate()))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert any("sin" in name for name in traced) and not any(part in " ".join(traced) for part in ("addmm", "autograd"))


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, _ = inputs(torch.float32)
    weight.requires_grad_(False)
    token_stats_from_hidden(hidden, weight, torch.zeros(5, dtype=torch.long)).need("entropy").sum().backward()
    assert hidden.grad is not None and weight.grad is None


def test_one_token_without_leading_shape() -> None:
    hidden, weight, _ = inputs(torch.float32)
    stats = token_stats_from_hidden(hidden[0], weight, torch.tensor(2), STATISTICS)
    assert stats.need("entropy").shape == ()
    torch.testing.assert_close(stats.need("logp"), torch.log_softmax(hidden[0] @ weight.t(), -1)[2])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"want": ["entropy", "varentropy"]}, ConfigError, "varentropy"),
        ({"temperature": 0.0}, ConfigError, "temperature.*0.0"),
        ({"softcap": 0.0}, ConfigError, "softcap.*0.0"),
        ({"softcap": math.nan}, ConfigError, "softcap.*nan"),
        ({"tile_tokens": 0}, ConfigError, "tile_tokens.*0"),
        ({"tile_vocabulary": -3}, ConfigError, "tile_vocabulary.*-3"),
        ({"kept_mb": -1.0}, ConfigError, "kept_mb.*-1.0"),
        ({"kept_mb": math.inf}, ConfigError, "kept_mb.*inf"),
        ({"implementation": "cuda"}, ConfigError, "'cuda'.*auto"),
        ({"implementation": "triton", "hidden_BTd": torch.zeros(2, 3, 4).double()}, ConfigError, "triton.*cannot run"),
        ({"targets_BT": torch.zeros(2, 4, dtype=torch.long)}, DataError, r"\(2, 3\).*\(2, 4\)"),
        ({"targets_BT": torch.full((2, 3), 5)}, DataError, r"\[0, 5\).*5"),
        ({"weight_Vd": torch.zeros(5, 3)}, DataError, r"\(V, 4\).*\(5, 3\)"),
        ({"bias_V": torch.zeros(4)}, DataError, r"\(5,\).*\(4,\)"),
        ({"mask_BT": torch.ones(2)}, DataError, r"\(2, 3\).*\(2,\)"),
    ],
)
def test_refusals_name_the_value(change: dict, error: type[Exception], message: str) -> None:
    good = {
        "hidden_BTd": torch.zeros(2, 3, 4),
        "weight_Vd": torch.zeros(5, 4),
        "targets_BT": torch.zeros(2, 3, dtype=torch.long),
    }
    with pytest.raises(error) as caught:
        token_stats_from_hidden(**(good | change))
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize(("zeros", "blocks"), [([], 3), ([1, 4], 2)])
def test_kept_logits_spare_products_and_change_no_gradient(
    zeros: list[int], blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, weight, bias = inputs()
    targets = torch.tensor([0, 3, 10, 10, 7])
    # Tokens without a gradient leave the backward, whose tiles then hold other tokens than the forward's.
    weights = torch.tensor([1.0, 4.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    weights[zeros] = 0
    products: list[int] = []
    plain = Tiling._project
    monkeypatch.setattr(Tiling, "_project", lambda *args: products.append(1) or plain(*args))

    def gradients(kept_mb: float) -> tuple[torch.Tensor, ...]:
        stats = token_stats_from_hidden(
            hidden, weight, targets, bias_V=bias, temperature=0.7, tile_tokens=2, tile_vocabulary=4, kept_mb=kept_mb
        )
        loss = (weights * (stats.need("logp") + stats.need("entropy"))).sum()
        products.clear()
        # Twice: the first backward must leave the kept logits as they are.
        torch.autograd.grad(loss, (hidden, weight, bias), retain_graph=True)
        return torch.autograd.grad(loss, (hidden, weight, bias))

    expected = gradients(0)
    assert len(products) == 2 * 3 * blocks
    # 5 tokens times 4 entries of fp64 are 160 bytes; the third tile of the vocabulary, of 3 entries, is never kept.
    for kept_mb, left in ((200e-6, 2), (1, 1)):
        for mine, theirs in zip(gradients(kept_mb), expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
        assert len(products) == 2 * left * blocks


def test_nothing_is_kept_where_no_gradient_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _ = inputs()
    kept: list[int] = []
    plain = Tiling.sums
    monkeypatch.setattr(Tiling, "sums", lambda *args: kept.append(len(args[-1])) or plain(*args))
    targets = torch.zeros(5, dtype=torch.long)
    with torch.no_grad():
        token_stats_from_hidden(hidden, weight, targets, tile_vocabulary=4)
    token_stats_from_hidden(hidden.detach(), weight.detach(), targets, tile_vocabulary=4)
    token_stats_from_hidden(hidden, weight, targets, "collision", tile_vocabulary=4)
    assert kept == [0, 0, 0]
    token_stats_from_hidden(hidden, weight.detach(), targets, tile_vocabulary=4)
    assert kept[-1] == 2
