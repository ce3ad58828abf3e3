"""Two ranks of one run over gloo. They are forked from a process that has TRL imported, which takes longer than what they do."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from typing import Any

from torch.multiprocessing import start_processes

PRELOADED = ["hosts.trl.trl_case", "entrostat.hosts.trl"]
LONGEST = 240  # seconds


def on_two_ranks(task: Callable[..., object], *arguments: Any, variables: Mapping[str, str] | None = None) -> None:
    """Call `task(*arguments)` in two processes, in the environment that `torchrun` makes for each.

    Raises:
        ProcessRaisedException: either failed; with its traceback. The other one is ended.
        TimeoutError: they have not ended after four minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    get_context("forkserver").set_forkserver_preload(PRELOADED)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        sys.path
    )  # where the forking process looks for what it imports beforehand
    try:
        ranks = start_processes(
            _rank, (task, arguments, {**(variables or {}), **common}), 2, join=False, start_method="forkserver"
        )
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    deadline = time.monotonic() + LONGEST
    while not ranks.join(max(0.0, deadline - time.monotonic())):
        if time.monotonic() > deadline:
            for each in ranks.processes:
                each.kill()
            raise TimeoutError(f"the two ranks did not end within {LONGEST} s")


def _rank(rank: int, task: Callable[..., object], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    gc.freeze()
    os.environ.update(variables, RANK=str(rank), LOCAL_RANK=str(rank))
    task(*arguments)
