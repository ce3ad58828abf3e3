"""The denominators of an optimizer step whose batch is split into micro-batches, on one rank or on several."""

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
    """The denominators of an optimizer step's means.

    Args:
        tokens, sequences: masked tokens, and rows with at least one, in all micro-batches. If gradients are averaged over ranks:
            of all ranks, divided by the number of ranks, as `over_ranks` does it.
        batches: number of micro-batches with at least one token.
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
        """From the masks (B, T) of the step's micro-batches on this rank."""
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
        """The mean of the sizes over the ranks of torch.distributed.

        With it, the gradients that DDP or FSDP averages equal those of the step in one batch. On one process it changes nothing.
        Every rank must call it in every step.

        Args:
            process_group: the ranks whose gradients are averaged; None: all.
        """
        if not ranks.are_several():
            return self
        own = torch.tensor([getattr(self, field.name) for field in fields(self)], dtype=torch.float64)
        return StepSize(
            *(ranks.sum_over_ranks(own, process_group) / torch.distributed.get_world_size(process_group)).tolist()
        )
