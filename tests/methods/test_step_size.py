"""The size of an optimizer step: exact of any mask, over ranks, and refused where it would be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks
from torch.nn.parallel import DistributedDataParallel

import entrostat as es
from entrostat.errors import DataError
from entrostat.methods import StepSize

ROWS, TOKENS, VOCABULARY, WIDTH = 6, 5, 11, 4
METHODS = {"hold": lambda: es.chain(es.entropy_bonus(0.1), es.flow(0.3, kp=1.0))}


def test_it_counts_any_mask() -> None:
    mask = torch.rand(40, 90) > 0.4
    mask[3] = False
    exact = StepSize(int(mask.sum()), 39, 1)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float32):
        assert StepSize.of([mask.to(dtype), torch.zeros(2, 3)]) == exact
    assert exact.over_ranks() == exact


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(2, 3), r"a list with the mask of each micro-batch, got one tensor of shape \(2, 3\)"),
        ([torch.ones(3)], r"two dimensions .* got shape \(3,\)"),
        ([[1, 1]], "must be a tensor, got an object of the class list"),
        ([torch.full((2, 3), -100)], "must be 1 .* got -100"),
        ([torch.full((2, 3), 0.5)], r"must be 1 .* got 0\.5"),
    ],
)
def test_what_would_be_counted_wrong_is_refused(masks: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        StepSize.of(masks)


@pytest.mark.parametrize("value", [-1, float("nan"), "a", float("inf")])
def test_sizes_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="tokens must be a finite number, zero or more, got"):
        StepSize(value, 1)


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(WIDTH, VOCABULARY, dtype=torch.float64)


def _step(model: torch.nn.Module, rows: list[slice], objective: Any, name: str) -> tuple[list[float], dict[str, float]]:
    """Gradients and metrics after one optimizer step over these micro-batches of one batch."""
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(ROWS, TOKENS, WIDTH, generator=draw, dtype=torch.float64)
    ids = torch.randint(0, VOCABULARY, (ROWS, TOKENS), generator=draw)
    advantages = torch.randn(ROWS, generator=draw, dtype=torch.float64)
    mask = torch.arange(TOKENS) < torch.tensor([[1], [2], [5], [5], [1], [0]])
    control = es.EntropyControl(METHODS[name]())
    size = StepSize.of(mask[each] for each in rows).over_ranks()
    for each in rows:
        stats = es.token_stats(model(hidden[each]), ids[each], want=control.wants)
        batch = es.TokenBatch(stats, advantages[each], mask[each])
        es.loss(control.apply(objective(batch), batch), batch, size).backward()
    return [g for p in model.parameters() for g in p.grad.flatten().tolist()], control.step()  # type: ignore[union-attr]


def _rank(folder: str, objective: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = _step(
        DistributedDataParallel(_model()),
        [slice(0, 2)] if rank == 0 else [slice(2, 6)],
        getattr(es, objective),
        "hold",
    )
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_two_ranks_of_unequal_size_are_one_process(objective: str, tmp_path: Path) -> None:
    """Gradients that DDP has averaged, and metrics."""
    gradients, metrics = _step(_model(), [slice(0, ROWS)], getattr(es, objective), "hold")
    on_ranks(2, _rank, str(tmp_path), objective)
    for rank in range(2):
        theirs, told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert theirs == pytest.approx(gradients, rel=1e-9, abs=1e-12)
        assert told == pytest.approx(metrics, rel=1e-9, abs=1e-12)
