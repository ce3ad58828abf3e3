"""Whether the Triton kernels can run, and the way to them, so that Triton is imported only when used."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from entrostat.stats.tiles import TileOps


@cache
def _importable() -> bool:
    return find_spec("triton") is not None


def cannot_run(hidden: Tensor) -> str:
    """Why the kernels cannot work on these hidden states; empty where they can."""
    if not _importable():
        return "Triton is not installed"
    if hidden.dtype == torch.float64:
        return "the kernels compute in fp32, and the hidden states are fp64"
    if not hidden.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the hidden states are on {hidden.device.type}, not on CUDA (TRITON_INTERPRET=1 runs the kernels slowly on a CPU)"
    return ""


def load() -> TileOps:
    """The kernels. Imports Triton."""
    from entrostat.stats.triton_kernel import TritonOps

    return TritonOps()
