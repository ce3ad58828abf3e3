"""A data set whose programs do what programs of a collection may do."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np


class Untidy:
    """Its programs write, print, break off, end the process, and never end, at work or asleep."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        Path(f"left-{index}.txt").write_text("x")
        print("a program's own words", flush=True)
        if index == 1:
            raise TypeError("Object of type int64 is not JSON serializable")
        if index == 2:
            raise SystemExit(3)
        if index == 3:
            os._exit(0)
        while index == 4:
            pass
        if index == 5:
            time.sleep(1000)
        return {"question": f"What is {index}?", "answer": str(index), "metadata": {"drawn": _drawn()}}


def _drawn() -> list[object]:
    return [random.random(), float(np.random.rand()), *{"a", "b", "c", "d", "e", "f"}, {1}]


def untidy() -> Untidy:
    """As `programs.entries` asks for it."""
    return Untidy()


def broken() -> Untidy:
    """One that does not load."""
    raise ImportError
