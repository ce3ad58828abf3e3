"""What the comparisons share: random batches, both sides' loss with its gradient, single files of a package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from methods.cases import Data, data
from torch import Tensor

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.types import Surrogate, TokenBatch

SEEDS = range(4)
EXACT = {"rtol": 1e-5, "atol": 1e-8}
Loss = tuple[Tensor, Tensor]
"""A loss, and its gradient in each token's log-probability, (B, T)."""


def batch_of(seed: int) -> tuple[TokenBatch, Data]:
    """A batch whose log-probabilities are a leaf: rows of several lengths, both signs of advantage, ratios around 1."""
    step = data(seed, rows=12, tokens=9)
    batch = step.batch(["logp", "entropy", "baseline"])
    logp = batch.stats.need("logp").detach().requires_grad_()
    return replace(batch, stats=replace(batch.stats, logp=logp)), step


def ours(method: Any, batch: TokenBatch, objective: Callable[[TokenBatch], Surrogate] = es.ppo) -> Loss:
    """The loss of a method on a batch that is a whole optimizer step."""
    changed, _ = EntropyControl(method, delay=0).step_on(objective(batch), batch)
    return _with_slope(es.loss(changed, batch), batch.stats.need("logp"))


def theirs(loss: Callable[[Tensor], Tensor], batch: TokenBatch) -> Loss:
    """Their loss as a function of the log-probabilities."""
    logp = batch.stats.need("logp").detach().clone().requires_grad_()
    return _with_slope(loss(logp), logp)


def _with_slope(value: Tensor, logp: Tensor) -> Loss:
    (slope,) = torch.autograd.grad(value, logp)
    return value.detach(), slope


def check(our: Loss, their: Loss, tokens: int = 1) -> None:
    """Both are one, to 1e-5; `tokens`: what they did not divide by."""
    torch.testing.assert_close(our[0] * tokens, their[0], **EXACT)
    torch.testing.assert_close(our[1] * tokens, their[1], **EXACT)
    assert our[1].abs().max() > 1e-4


def without_init(package: str, *below: str) -> None:
    """Make single files of an installed package importable whose `__init__` files would import what is not here."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations)))
    for name in (package, *below):
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module


def stand_in(name: str, **values: Any) -> None:
    """A module of which only these names are asked for."""
    module = ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module


load = importlib.import_module
