"""The README's loop, run as it stands: its gradients are those of the step in one batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import entrostat as es

README = (Path(__file__).parents[1] / "README.md").read_text()
(LOOP,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.S) if "StepSize" in code]
B, T, V = 8, 5, 11


@dataclass
class Micro:
    rows: slice
    tokens_BT: torch.Tensor
    advantages_B: torch.Tensor
    mask_BT: torch.Tensor
    old_logp_BT: torch.Tensor | None


def gradient(parts: int, tmp_path: Path) -> torch.Tensor:
    """What the loop leaves in the parameters, its step cut into that many micro-batches of unequal length."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(B, T, V, generator=generator, dtype=torch.float64).requires_grad_()
    tokens = torch.randint(0, V, (B, T), generator=generator)
    advantages = torch.randn(B, generator=generator, dtype=torch.float64)
    mask = torch.arange(T) < torch.tensor([[1], [2], [5], [5], [1], [1], [4], [3]])
    size = B // parts
    rows = [slice(i * size, (i + 1) * size) for i in range(parts)]
    names = {
        "es": es,
        "step": [Micro(r, tokens[r], advantages[r], mask[r], None) for r in rows],
        "model": lambda micro: weights[micro.rows],
        "optimizer": SimpleNamespace(step=lambda: None),
        "log": lambda metrics: None,
        "checkpoint": tmp_path,
    }
    exec(LOOP, names)
    assert (tmp_path / "entrostat_state.json").exists()
    assert weights.grad is not None
    return weights.grad


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_make_the_gradient_of_the_step(parts: int, tmp_path: Path) -> None:
    torch.testing.assert_close(gradient(parts, tmp_path), gradient(1, tmp_path))


@pytest.mark.parametrize("objective", [es.ppo, es.grpo, es.cispo])
@pytest.mark.parametrize("method", [es.entropy_bonus(0.1), es.observe()])
def test_every_objective_and_term(objective: object, method: object) -> None:
    from methods.cases import data, split

    whole = data(0)

    def by_logits(parts: int) -> torch.Tensor:
        control = es.EntropyControl(method)
        micros = split(whole, parts)
        size = es.StepSize.of(micro.mask_BT for micro in micros)
        losses = []
        for micro in micros:
            batch = micro.batch(control.method.requires)
            losses.append(es.loss(control.apply(objective(batch), batch), batch, size))  # type: ignore[operator]
        return torch.autograd.grad(sum(losses), whole.logits_BTV)[0]

    torch.testing.assert_close(by_logits(4), by_logits(1))
