"""Scoring of completions in processes that can do nothing else, with limits on time and memory.

The trainer's side; what a worker gives up is in `scoring_process`. One server per training process forks workers in milliseconds,
so an answer that hangs or breaks its worker costs little more than its time limit.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import pickle
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from entrostat.errors import DataError, HostError
from entrostat.tasks.base import Scored
from entrostat.tasks.scoring_process import SCORE, receive, send

FAILURES = ("timed_out", "forbidden", "died")
"""Why a completion was not scored: it took too long; it tried to run, write or connect; its worker ran out of memory or broke."""
CHUNK = 32  # items that a worker gets at a time


@dataclass(frozen=True)
class Limits:
    """What one answer may take.

    Attributes:
        first, seconds: processor time. Every answer gets `first`; those that need more get `seconds`, after all others.
        budget: wall-clock time of a whole batch after which no more of those slow ones is tried [s].
        megabytes: memory beyond what the scorer itself has.
        alone: a process for each answer, so that code in one cannot touch the scores of others.
    """

    first: float = 0.1
    seconds: float = 2.0
    budget: float = 30.0
    megabytes: int = 1024
    alone: bool = False


class Pool:
    """Workers that score items with one function.

    Args:
        place: `module:function` that returns the scorer, given `options`; the scorer takes an item's parts and returns a score.
        example: an item that can be trusted, on which the scorer loads what it needs before it gives up its rights.
    """

    def __init__(
        self, place: str, options: dict[str, Any], example: tuple[Any, ...], limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._order = (place, options, example, self.limits.seconds, self.limits.megabytes)
        self._count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
        self._idle: list[_Worker] = []
        self._lock, self._owner = threading.Lock(), os.getpid()

    def scores(self, items: Sequence[tuple[Any, ...]]) -> Scored:
        """The score of each item, in [0, 1]; 0 where it could not be scored, which `failed` counts.

        Raises:
            DataError: the scorer does not even load.
        """
        with self._lock:
            if self._owner != os.getpid():  # a forked process has workers of its own
                self._idle, self._owner = [], os.getpid()
            batch = _Batch(items, self)
            started = time.monotonic()
            batch.run(range(len(items)), self.limits.first, math.inf)
            slow = [index for index, reason in batch.failed.items() if reason == "timed_out"]
            if slow and self.limits.seconds > self.limits.first:
                batch.run(slow, self.limits.seconds, started + self.limits.budget)
        counts = dict.fromkeys(FAILURES, 0)
        for reason in batch.failed.values():
            counts[reason] += 1
        return Scored(batch.values, counts)

    def _take(self) -> _Worker:
        return self._idle.pop() if self._idle else _Worker(*_server().fork(self._order))

    def _give_back(self, worker: _Worker) -> None:
        if self.limits.alone:
            worker.end()
        else:
            self._idle.append(worker)

    def close(self) -> None:
        """End the workers; the next scores start new ones."""
        for worker in self._idle:
            worker.end()
        self._idle.clear()


@dataclass
class _Worker:
    socket: socket.socket
    pid: int
    jobs: deque[int] = field(default_factory=deque)
    partial: bytes = b""
    deadline: float = math.inf

    def end(self, kill: bool = True) -> str:
        """Why it ended, by itself (it may need a moment) or by this."""
        self.socket.close()
        return _server().end(self.pid, kill)

    def __del__(self) -> None:
        self.socket.close()  # at which the worker ends by itself


class _Batch:
    """One call of `Pool.scores`: who works on what, what has come back."""

    def __init__(self, items: Sequence[tuple[Any, ...]], pool: Pool) -> None:
        self.items, self.pool = items, pool
        self.values = [0.0] * len(items)
        self.failed: dict[int, str] = {}

    def run(self, jobs: Sequence[int], seconds: float, until: float) -> None:
        """Score `jobs` with a limit of `seconds` each; past `until` the rest keeps the score and reason that it has."""
        queue, size = deque(jobs), 1 if self.pool.limits.alone or math.isfinite(until) else CHUNK
        wall = 2 * seconds + 1  # for an answer that waits instead of working, and on a machine that is busy elsewhere
        with selectors.DefaultSelector() as selector:
            while queue or selector.get_map():
                while queue and len(selector.get_map()) < self.pool._count and time.monotonic() < until:
                    worker = self.pool._take()
                    selector.register(worker.socket, selectors.EVENT_READ, worker)
                    self._hand_out(worker, queue, size, seconds, wall)
                if not selector.get_map():
                    return
                workers: list[_Worker] = [key.data for key in selector.get_map().values()]
                ready = {
                    key.data.pid
                    for key, _ in selector.select(max(0.0, min(w.deadline for w in workers) - time.monotonic()))
                }
                for worker in workers:
                    if worker.pid in ready:
                        self._collect(worker, selector, queue, wall)
                    elif time.monotonic() >= worker.deadline:
                        self._lose(worker, selector, queue)

    def _hand_out(self, worker: _Worker, queue: deque[int], size: int, seconds: float, wall: float) -> None:
        worker.jobs = deque(queue.popleft() for _ in range(min(size, len(queue))))
        worker.deadline = time.monotonic() + wall
        with suppress(OSError):  # it has died while idle; reading says so
            send(worker.socket, pickle.dumps((seconds, [self.items[index] for index in worker.jobs])))

    def _collect(self, worker: _Worker, selector: selectors.BaseSelector, queue: deque[int], wall: float) -> None:
        try:
            came = worker.socket.recv(1 << 16)
        except OSError:
            came = b""
        if not came:
            return self._lose(worker, selector, queue, kill=False)
        worker.partial += came
        worker.deadline = time.monotonic() + wall
        while len(worker.partial) >= SCORE.size and worker.jobs:
            index, (value,) = worker.jobs.popleft(), SCORE.unpack_from(worker.partial)
            worker.partial = worker.partial[SCORE.size :]
            self.failed.pop(index, None)
            if math.isnan(value):
                self.failed[index] = "died"
            self.values[index] = min(1.0, max(0.0, value)) if not math.isnan(value) else 0.0
        if not worker.jobs:
            selector.unregister(worker.socket)
            if worker.partial:  # more scores than were asked for: something in there writes on its own
                worker.end()
            else:
                self.pool._give_back(worker)

    def _lose(self, worker: _Worker, selector: selectors.BaseSelector, queue: deque[int], kill: bool = True) -> None:
        """The worker is gone or must go: its present item is not scored, the others go to somebody else."""
        selector.unregister(worker.socket)
        reason = worker.end(kill)
        if worker.jobs:
            self.failed[worker.jobs.popleft()] = reason
        queue.extendleft(reversed(worker.jobs))


class _Server:
    """The process that makes workers."""

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise HostError(
                "completions are scored in separate processes, which needs a POSIX system: use Linux, macOS or WSL"
            )
        self.owner, self._lock = os.getpid(), threading.Lock()
        self._control, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {[path for path in sys.path if path]!r}\n"
            f"from entrostat.tasks.scoring_process import serve; serve({theirs.fileno()})"
        )
        keep = {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LD_PRELOAD"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={key: value for key, value in os.environ.items() if key in keep}
                | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the trainer's
            )
        atexit.register(self.close)

    def fork(self, order: tuple[Any, ...]) -> tuple[socket.socket, int]:
        mine, theirs = socket.socketpair()
        with theirs:
            answer = self._ask(b"f", pickle.dumps(order), [theirs.fileno()])
        if "pid" not in answer:
            mine.close()
            raise DataError(
                f"the scorer {order[0]} does not work in its sandbox: {answer.get('error', 'its process ended')}"
            )
        return mine, int(answer["pid"])

    def end(self, pid: int, kill: bool) -> str:
        return str(self._ask(b"k" if kill else b"e", str(pid).encode()).get("reason", "died"))

    def _ask(self, kind: bytes, body: bytes, descriptors: Sequence[int] = ()) -> dict[str, Any]:
        with self._lock:
            try:
                if descriptors:
                    socket.send_fds(self._control, [kind], list(descriptors))
                else:
                    self._control.sendall(kind)
                send(self._control, body)
                answer = receive(self._control)
            except OSError:
                answer = None
            except BaseException:  # Ctrl-C between question and answer: they would no longer belong together
                self._control.close()
                self._process.terminate()
                self._process.wait()
                raise
        return json.loads(answer) if answer else {}

    @property
    def usable(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        if self.owner == os.getpid():
            self._control.close()
            self._process.wait()


_server_now: _Server | None = None
_starting = threading.Lock()


def _server() -> _Server:
    global _server_now
    with _starting:
        if _server_now is None or not _server_now.usable:
            _server_now = _Server()
        return _server_now
