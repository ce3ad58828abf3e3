"""Sums over the ranks of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entrostat.stats.summarize import sum_dtype


def are_several() -> bool:
    """Whether there are ranks to add up over: torch.distributed is initialized."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def sum_over_ranks(vector: Tensor, process_group: Any = None) -> Tensor:
    """The sum of the ranks' vectors; `process_group` None: of all ranks.

    A rank that had no micro-batch has its zeros on the CPU, others what they added up on a GPU. So they do not meet where each
    vector is, but where the group says: on the CPU if it communicates there.
    """
    device = meeting_place(process_group)
    vector = vector.to(device, sum_dtype(device))
    torch.distributed.all_reduce(vector, group=process_group)
    return vector


def meeting_place(process_group: Any = None) -> torch.device:
    """The device on which a group communicates, the same on all of its ranks: the CPU where it can."""
    # As "cpu:gloo,cuda:nccl".
    devices = [
        each.partition(":")[0] for each in torch.distributed.get_backend_config(process_group).lower().split(",")
    ]
    return torch.device("cpu" if "cpu" in devices else devices[0])
