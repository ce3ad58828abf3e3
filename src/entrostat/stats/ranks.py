"""Sums over the ranks of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def are_several() -> bool:
    """Whether there are ranks to add up over: torch.distributed is initialized."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def sum_over_ranks(vector: Tensor, process_group: Any = None) -> Tensor:
    """The sum of the ranks' vectors, on the device that the group communicates on; `process_group` None: of all ranks."""
    if vector.device.type == "cpu" and torch.distributed.get_backend(process_group) == "nccl":
        vector = vector.cuda()
    torch.distributed.all_reduce(vector, group=process_group)
    return vector
