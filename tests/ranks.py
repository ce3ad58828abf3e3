"""Processes of a test's own. They are forked from one that has TRL imported, which takes longer than what they do.

They see no GPU, also where the test that starts them is on one: NCCL wants a card for each rank, and a fork cannot use one
that the process it came from has looked at.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

from torch.multiprocessing import start_processes

PRELOADED = ["hosts.trl.trl_case", "entrostat.hosts.trl"]
LONGEST = 240  # seconds


def on_ranks(
    number: int, task: Callable[..., object], *arguments: Any, variables: Mapping[str, str] | None = None
) -> None:
    """Call `task(*arguments)` in so many processes, in the environment that `torchrun` makes for each, to meet over gloo.

    Raises:
        ProcessRaisedException: one failed; with its traceback. The others are ended.
        TimeoutError: they have not ended after four minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(number)}
    common["LOCAL_WORLD_SIZE"] = common["WORLD_SIZE"]
    _fork(number, _rank, task, arguments, {**(variables or {}), **common})


def in_a_process(task: Callable[..., object], *arguments: Any) -> None:
    """Call `task(*arguments)` in one process; raises as `on_ranks` does, and where it exits with a code other than 0."""
    _fork(1, _alone, task, arguments)


def _rank(rank: int, task: Callable[..., object], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    os.environ.update(variables, RANK=str(rank), LOCAL_RANK=str(rank))
    _alone(rank, task, arguments)


def _alone(_: int, task: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    gc.freeze()  # what was imported beforehand
    task(*arguments)


def _fork(number: int, task: Callable[..., object], *arguments: Any) -> None:
    get_context("forkserver").set_forkserver_preload(PRELOADED)
    theirs = {"PYTHONPATH": os.pathsep.join(sys.path)}  # where it looks for what it imports beforehand
    if os.environ.get("ENTROSTAT_TEST_DEVICE") != "elsewhere":
        theirs |= {"ENTROSTAT_TEST_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    with patch.dict(os.environ, theirs):
        context = start_processes(task, arguments, number, join=False, start_method="forkserver")
    deadline = time.monotonic() + LONGEST
    while not context.join(max(0.0, deadline - time.monotonic())):
        if time.monotonic() > deadline:
            for each in context.processes:
                each.kill()
            raise TimeoutError(f"the processes of a test did not end within {LONGEST} s")
