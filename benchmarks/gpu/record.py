"""What the parts share: where a result was measured, and results that are on disk as soon as they are there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from run import BROKEN

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "trl",
    "accelerate",
    "peft",
    "liger-kernel",
    "cut-cross-entropy",
    "verl",
    "numpy",
)


def _said(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def place() -> dict[str, Any]:
    """The card, its driver, and every version that a number depends on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    cuda = torch.cuda.is_available()
    return {
        "card": torch.cuda.get_device_name() if cuda else None,
        "card_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if cuda else None,
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "packages": found,
        "commit": _said("git", "rev-parse", "HEAD"),  # None where the tree came without its history
        "sources": sources(),
    }


@cache
def sources(root: Path = ROOT) -> str:
    """A hash of what is measured, whatever brought it here: `git archive COMMIT src benchmarks/gpu` has the same."""
    found = hashlib.sha256()
    for path in sorted([*(root / "src").rglob("*.py"), *(root / "benchmarks" / "gpu").rglob("*.py")]):
        found.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def lost() -> bool:
    """Whether the device answers no more: after an illegal access nothing else runs there in this process."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file; a last one that was cut short is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Results:
    """Rows in a file, one JSON object a line, each with its key and its place.

    A key that succeeded is not measured again, nor one that cost the device: it would cost it at every call.

    seconds: how long the part has. No row begins after that; `left_out` counts those for the next call.
    """

    def __init__(self, path: Path, seconds: float = math.inf) -> None:
        self.until, self.left_out = time.monotonic() + seconds, 0
        self.writing = threading.Lock()  # a long row is more than one write, and some parts measure in threads
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        place()  # while the device still answers
        rows = read(path)
        if path.exists() and not path.read_text().endswith("\n"):  # it was killed while it wrote
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.done = {json.dumps(row["key"]) for row in rows if "error" not in row or row.get("lost")}

    def left(self) -> float:
        """Seconds that the part still has."""
        return max(self.until - time.monotonic(), 0.0)

    def add(self, key: dict[str, Any], row: dict[str, Any]) -> None:
        with self.writing, self.path.open("a") as stream:
            stream.write(json.dumps({"key": key, **row, "place": place()}) + "\n")
        if "error" not in row:
            self.done.add(json.dumps(key))
        print(key, row, flush=True)

    def measure(self, key: dict[str, Any], work: Callable[[], dict[str, Any]]) -> bool:
        """One row; a failure is a row too, with its last lines, and does not stop the next. Whether it is there.

        Where it cost the device, this process ends with `BROKEN`, and the part is started anew.
        """
        if json.dumps(key) in self.done:
            return True
        if not self.left():
            self.left_out += 1
            return False
        began = time.perf_counter()
        try:
            row = work()
        except Exception as error:
            where = "".join(traceback.format_exc().splitlines(keepends=True)[-8:])
            row = {"error": f"{type(error).__name__}: {error}"[:500], "where": where[-1500:]}
        row["took_seconds"] = round(time.perf_counter() - began, 2)
        self.left_out += bool(row.get("cut_off"))
        if "error" in row and lost():
            self.add(key, row | {"lost": True})
            raise SystemExit(BROKEN)
        self.add(key, row)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return "error" not in row
