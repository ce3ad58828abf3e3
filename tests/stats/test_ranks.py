"""Where the ranks of a group meet: the same place for all of them, whatever device their vectors are on."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks
from torch.distributed.distributed_c10d import Backend, BackendConfig

from entrostat.stats.ranks import meeting_place, sum_over_ranks


@pytest.mark.parametrize(
    ("backend", "device"),
    [("gloo", "cpu"), ("cpu:gloo,cuda:nccl", "cpu"), ("cuda:nccl,cpu:gloo", "cpu"), ("nccl", "cuda"), ("xccl", "xpu")],
)
def test_a_group_names_its_device(backend: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_backend_config", lambda group: str(BackendConfig(Backend(backend))))
    assert meeting_place() == torch.device(device)


def two() -> None:
    dist.init_process_group("gloo")
    # As a rank has its sums where the device has no fp64, and one without a micro-batch its zeros.
    own = torch.tensor([1.0, 2.0], dtype=torch.float32) if dist.get_rank() else torch.zeros(2, dtype=torch.float64)
    found = sum_over_ranks(own)
    assert found.dtype == torch.float64 and found.tolist() == [1.0, 2.0]
    dist.destroy_process_group()


def test_ranks_of_other_precision_meet() -> None:
    on_ranks(2, two)
