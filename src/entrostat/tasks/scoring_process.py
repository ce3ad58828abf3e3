"""The process in which completions are scored. It imports the standard library and the scorer's own packages.

A completion is text of a policy under training, and scorers hand it to parsers that can be made to run code (some of
reasoning-gym call `eval`) or to compute for ever. So the trainer never scores it. It starts this server, which loads the
scorers and sees no completion; the server forks workers, which do, and each first gives up what a plain process can:

* its user, for `nobody`, where the server runs as root; new privileges; its environment; the network, where the kernel allows it;
* memory beyond a limit, processor time per answer, files that grow, new processes;
* by an audit hook that ends the worker: commands, sockets, files opened for writing or changed, foreign functions.

The hook is Python, and somebody who studies it will get around it; the limits of the operating system then still hold.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NoReturn

FORBIDDEN = 77  # exit code of a worker that its audit hook ended
SCORE = struct.Struct("<d")  # NaN: could not be scored
_LENGTH = struct.Struct("<I")
_DENIED = (
    "ctypes.", "ftplib.", "gc.", "http.", "imaplib.", "mmap.", "nntplib.", "os.chflags", "os.chmod", "os.chown",
    "os.exec", "os.fork", "os.kill", "os.link", "os.lockf", "os.mkdir", "os.posix_spawn", "os.putenv",
    "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.symlink", "os.system",
    "os.truncate", "os.utime", "poplib.", "pty.", "shutil.", "signal.pthread_kill", "smtplib.", "socket.",
    "sqlite3.", "subprocess.", "syslog.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS, _CAP_DAC_READ_SEARCH = 1, 8, 38, 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

Scorer = Callable[..., float]


def send(to: socket.socket, body: bytes) -> None:
    to.sendall(_LENGTH.pack(len(body)) + body)


def receive(source: socket.socket) -> bytes | None:
    """One framed message; None at the end."""
    head = _exactly(source, _LENGTH.size)
    return None if head is None else _exactly(source, _LENGTH.unpack(head)[0])


def _exactly(source: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = source.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def serve(descriptor: int) -> None:
    """Make workers as asked, until the trainer goes away. Only the trainer is at the other end: what it sends is trusted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = _libc()
    os.environ.clear()
    empty = tempfile.mkdtemp()
    os.chdir(empty)
    os.rmdir(empty)  # a folder that is gone: nothing can be made in it, and nothing is left behind
    _leave_network(libc)
    control, scorers, alive = socket.socket(fileno=descriptor), dict[bytes, Scorer](), set[int]()
    with contextlib.suppress(ConnectionError):
        while True:
            kind, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            body = receive(control) if kind else None
            if body is None:
                break
            if kind == b"f":
                answer = _fork(socket.socket(fileno=descriptors[0]), body, control, scorers, libc)
                alive |= {answer["pid"]} if "pid" in answer else set()
            else:
                # Its end of the socket may close a moment before it is gone.
                answer = {"reason": _end(int(body), alive, patience=1.0 if kind == b"e" else 0.0)}
            send(control, json.dumps(answer).encode())
    for pid in set(alive):
        _end(pid, alive, 0.0)


def _fork(
    mine: socket.socket, body: bytes, control: socket.socket, scorers: dict[bytes, Scorer], libc: Any
) -> dict[str, Any]:
    place, options, example, seconds, megabytes = pickle.loads(body)
    key = pickle.dumps((place, options))
    with mine:
        try:
            if key not in scorers:
                module, _, name = place.partition(":")
                scorers[key] = getattr(importlib.import_module(module), name)(**options)
                scorers[key](*example)  # what it imports or reads on its first use, while it may
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        pid = os.fork()
        if pid:
            return {"pid": pid}
        _work(mine, control, scorers[key], seconds, megabytes, libc)


def _work(
    mine: socket.socket, control: socket.socket, score: Scorer, seconds: float, megabytes: int, libc: Any
) -> NoReturn:
    """The life of a worker: give up what it may not have, then answer frames of items with one score each."""
    try:
        control.close()
        give_up(megabytes, libc)
        while (body := receive(mine)) is not None:
            limit, items = pickle.loads(body)
            for item in items:
                signal.setitimer(signal.ITIMER_PROF, limit or seconds)  # processor time; its signal ends the process
                value = _score(score, item)
                signal.setitimer(signal.ITIMER_PROF, 0)
                mine.sendall(SCORE.pack(value))
    finally:
        os._exit(0)


def _score(score: Scorer, item: tuple[Any, ...]) -> float:
    try:
        value = float(score(*item))
    except (MemoryError, ImportError, OSError):  # it is the sandbox that stood in the way
        return math.nan
    except Exception:  # scorers parse the policy's text with ast, sympy and others; what breaks them is wrong
        return 0.0
    return min(1.0, max(0.0, value)) if not math.isnan(value) else 0.0


def _end(pid: int, alive: set[int], patience: float) -> str:
    """How a worker ended: `forbidden`, `died`, or `timed_out`: by its timer, or by this, after `patience` [s]."""
    if pid not in alive:
        return "died"
    alive.remove(pid)
    until = time.monotonic() + patience
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "timed_out"
        time.sleep(0.001)
    status = ended[1]
    if os.WIFEXITED(status):
        return "forbidden" if os.WEXITSTATUS(status) == FORBIDDEN else "died"
    return "timed_out" if os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGXCPU) else "died"


def give_up(megabytes: int, libc: Any) -> None:
    """Everything that scoring does not need; what the operating system does not let go of is kept."""
    if os.geteuid() == 0:
        _become_nobody(libc)
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_AS": _size() + megabytes * 2**20,
    }
    for name, value in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    sys.addaudithook(_hook())


def _become_nobody(libc: Any) -> None:
    """The user `nobody`, who may still read where the packages lie (often below /root, which others may not enter)."""
    import pwd

    with contextlib.suppress(OSError, KeyError):
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.seteuid(nobody.pw_uid)
        readable = all(
            os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in [sys.prefix, sys.base_prefix, *sys.path]
        )
        os.seteuid(0)
        if libc is not None and not readable:
            libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
        if libc is not None and not readable:
            header, sets = (
                struct.pack("=Ii", 0x20080522, 0),
                struct.pack("=6I", *[1 << _CAP_DAC_READ_SEARCH] * 2, 0, 0, 0, 0),
            )
            libc.capset(header, sets)  # all others are gone


def _hook() -> Callable[[str, tuple[Any, ...]], None]:
    denied, end, code, writing = _DENIED, os._exit, FORBIDDEN, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if isinstance(flags, int) and flags & writing:
                end(code)
        elif event.startswith(denied):
            end(code)

    return watch


def _size() -> int:
    """Address space in use [bytes]."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 4 * 2**30


def _libc() -> Any:
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "prctl") else None
    except (ImportError, OSError):
        return None


def _leave_network(libc: Any) -> None:
    """A network of its own, without a way out, where the kernel lets this process have one."""
    if libc is not None and hasattr(libc, "unshare"):
        libc.unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET)
