"""How large an optimizer step is whose batch comes in several micro-batches, on one rank or on several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from entrostat.control.numbers import as_float
from entrostat.errors import DataError
from entrostat.stats import ranks
from entrostat.types.checks import check_mask, check_tensors


@dataclass(frozen=True)
class StepSize:
    """What the means of an optimizer step are taken over.

    Args:
        tokens, sequences: masked tokens, and rows that have one, of all micro-batches. On several ranks whose gradients are
            averaged: of all ranks, divided by their number, as `over_ranks` does it.
        batches: number of micro-batches that have one.
    """

    tokens: float
    sequences: float
    batches: float = 1

    def __post_init__(self) -> None:
        for name in ("tokens", "sequences", "batches"):
            found = as_float(value := getattr(self, name))
            if found is None or not 0 <= found < math.inf:
                raise DataError(f"{name} must be a finite number, zero or more, got {value!r}")

    @classmethod
    def of(cls, masks: Iterable[Tensor]) -> StepSize:
        """Of the masks (B, T) of a step's micro-batches, of this rank."""
        if isinstance(masks, Tensor):
            raise DataError(
                f"masks must be a list with the mask of each micro-batch, got one tensor of shape {tuple(masks.shape)}: for a "
                "step in one batch write StepSize.of([mask]), or call es.loss without the step"
            )
        tokens, sequences, batches = 0, 0, 0
        for mask in masks:
            check_tensors(mask=mask)
            if mask.dim() != 2:
                raise DataError(f"a mask must have two dimensions (sequences, tokens), got shape {tuple(mask.shape)}")
            check_mask("a mask", mask)
            rows = mask.bool().any(1).sum()
            tokens, sequences = tokens + int(mask.bool().sum()), sequences + int(rows)
            batches += int(rows > 0)
        return cls(tokens, sequences, batches)

    def over_ranks(self, process_group: Any = None) -> StepSize:
        """The mean over the ranks of torch.distributed: with it, gradients that DDP or FSDP averages are those of the step in one
        batch. On one process the same size. Every rank calls it in every step.

        Args:
            process_group: of the ranks whose gradients are averaged; None: all.
        """
        if not ranks.are_several():
            return self
        own = torch.tensor([getattr(self, field.name) for field in fields(self)], dtype=torch.float64)
        return StepSize(
            *(ranks.sum_over_ranks(own, process_group) / torch.distributed.get_world_size(process_group)).tolist()
        )
