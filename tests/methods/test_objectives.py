"""The objectives: values against NumPy, gradients against finite differences in fp64."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from methods.cases import data

import entrostat as es
from entrostat.types import Surrogate

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("ppo", {}),
    ("ppo", {"eps_low": 0.1, "eps_high": 0.3, "dual_clip": 1.2}),
    ("grpo", {}),
    ("grpo", {"eps_high": 0.05, "dual_clip": 3.0}),
    ("gspo", {"eps_low": 0.02, "eps_high": 0.03}),
    ("gspo", {}),
    ("cispo", {}),
    ("cispo", {"eps_high": 0.1}),
]
each = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(OPTIONS)])


def by_numpy(
    name: str, surrogate: Surrogate, step: Any, logits: np.ndarray, frozen: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The written formula. `frozen`: what CISPO and GSPO-token stop, at another point; returned as the second value."""
    z = logits - logits.max(-1, keepdims=True)
    logp = np.take_along_axis(z - np.log(np.exp(z).sum(-1, keepdims=True)), step.targets_BT.numpy()[..., None], -1)[
        ..., 0
    ]
    mask, a = step.mask_BT.numpy().astype(bool), step.advantages_BT.numpy()
    old = logp if step.old_logp_BT is None else step.old_logp_BT.numpy()
    change = np.where(mask, logp - old, 0)
    ratio = np.exp(change)
    low, high = surrogate.eps_low, surrogate.eps_high
    if name == "gspo":
        row = np.exp(change.sum(1, keepdims=True) / np.maximum(mask.sum(1, keepdims=True), 1))
        frozen = row / ratio if frozen is None else frozen
        ratio = frozen * ratio
    if name == "cispo":
        frozen = np.minimum(ratio, 1 + high) if frozen is None else frozen
        loss = -frozen * a * logp
    else:
        loss = np.maximum(-a * ratio, -a * np.clip(ratio, 1 - low, 1 + high))
        if surrogate.dual_clip is not None:
            loss = np.where(a < 0, np.minimum(loss, -a * surrogate.dual_clip), loss)
    if surrogate.weight_BT is not None:
        loss = loss * surrogate.weight_BT.numpy()
    kept = mask if surrogate.keep_BT is None else mask & surrogate.keep_BT.numpy()
    loss = np.where(kept, loss, 0)
    if name in ("grpo", "gspo"):
        rows = kept.any(1)
        value = (loss.sum(1)[rows] / kept.sum(1)[rows]).mean()
    else:
        value = loss.sum() / kept.sum()
    return float(value), ratio if frozen is None else frozen


def made(name: str, options: dict[str, Any], step: Any, changed: bool) -> tuple[Surrogate, Any]:
    batch = step.batch(("logp", "entropy"))
    surrogate = getattr(es, name)(batch, **options)
    if changed:
        draw = torch.Generator().manual_seed(1)
        keep = torch.rand(8, 6, generator=draw) > 0.3
        keep[2] = False  # a row that leaves altogether
        weight = 2 * torch.rand(8, 6, generator=draw, dtype=torch.float64)
        surrogate = dataclasses.replace(surrogate, weight_BT=weight, keep_BT=keep)
    return surrogate, batch


@each
@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("on_policy", [False, True])
def test_values(name: str, options: dict[str, Any], changed: bool, on_policy: bool) -> None:
    step = data(11, on_policy=on_policy)
    surrogate, batch = made(name, options, step, changed)
    expected, _ = by_numpy(name, surrogate, step, step.logits_BTV.detach().numpy())
    assert es.loss(surrogate, batch).item() == pytest.approx(expected, rel=1e-12)


@each
@pytest.mark.parametrize("changed", [False, True])
def test_gradients_are_finite_differences(name: str, options: dict[str, Any], changed: bool) -> None:
    step = data(12, rows=8, vocabulary=5)
    surrogate, batch = made(name, options, step, changed)
    (gradient,) = torch.autograd.grad(es.loss(surrogate, batch), step.logits_BTV)
    logits = step.logits_BTV.detach().numpy()
    _, frozen = by_numpy(name, surrogate, step, logits)
    frozen_or_none = frozen if name == "cispo" or (name == "gspo" and changed) else None
    # Central differences in fp64: truncation about h^2 = 1e-11 and rounding about 1e-16 / h = 3e-11; no ratio of this
    # batch lies within h of a clip bound, where the loss has a kink.
    h = 3e-6
    draw = np.random.default_rng(0)
    for _ in range(60):
        index = tuple(int(draw.integers(n)) for n in logits.shape)
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[index] += sign * h
            ends.append(by_numpy(name, surrogate, step, moved, frozen_or_none)[0])
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=2e-10)


@each
def test_on_policy_they_are_the_policy_gradient(name: str, options: dict[str, Any]) -> None:
    """With every ratio at 1 no clip acts and the gradient is that of -A log p."""
    step = data(13, on_policy=True)
    surrogate, batch = made(name, options, step, changed=False)
    (gradient,) = torch.autograd.grad(es.loss(surrogate, batch), step.logits_BTV)
    logp = step.batch(("logp",)).stats.need("logp")
    per_token = (-step.advantages_BT * logp).masked_fill(~step.mask_BT.bool(), 0)
    by_sequence = (per_token.sum(1) / step.mask_BT.sum(1)).mean()
    plain = by_sequence if name in ("grpo", "gspo") else per_token.sum() / step.mask_BT.sum()
    (expected,) = torch.autograd.grad(plain, step.logits_BTV)
    torch.testing.assert_close(gradient, expected)


def test_clip_ranges_may_be_per_token() -> None:
    step = data(14)
    batch = step.batch(("logp", "entropy"))
    narrow, wide = es.ppo(batch, 0.05, 0.05), es.ppo(batch, 0.4, 0.4)
    first = torch.zeros(8, 6)
    first[:4] = 1
    mixed = dataclasses.replace(narrow, eps_low=0.4 - 0.35 * first, eps_high=0.4 - 0.35 * first)
    count = step.mask_BT.sum()
    value = es.loss(dataclasses.replace(narrow, keep_BT=first.bool()), batch) * step.mask_BT[:4].sum()
    value = value + es.loss(dataclasses.replace(wide, keep_BT=~first.bool()), batch) * step.mask_BT[4:].sum()
    torch.testing.assert_close(es.loss(mixed, batch), value / count, rtol=1e-6, atol=1e-9)


def test_sequence_advantages_are_broadcast() -> None:
    step = data(15)
    per_token = step.batch(("logp", "entropy"))
    per_row = step.replace(advantages_BT=step.advantages_BT[:, 0]).batch(("logp", "entropy"))
    assert es.loss(es.grpo(per_token), per_token) == es.loss(es.grpo(per_row), per_row)
