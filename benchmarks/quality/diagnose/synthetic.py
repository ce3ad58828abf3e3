"""Runs with a known fault, or none, drawn from a seed: rows as TRL's trainer writes them, with a controller's where there is one.

Each kind draws its own numbers (lengths of run, levels, speeds, noise) from wide ranges. The label is the code that a good
diagnosis gives; `also` are codes that are right beside it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import faults
import healthy
import numpy as np

KINDS = healthy.KINDS | faults.KINDS


@dataclass(frozen=True)
class Case:
    """A labeled run. `label` is a code, or empty of a healthy run; `also`: further codes that are right; `rows`: of the log."""

    kind: str
    seed: int
    label: str
    also: frozenset[str]
    rows: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"


def case(name: str, seed: int) -> Case:
    """The run of a kind and a seed; the same on every machine."""
    label, also, build = KINDS[name]
    columns = build(np.random.default_rng([zlib.crc32(name.encode()), seed]))
    steps = columns.pop("step", np.arange(1, 1 + max(map(len, columns.values()))))
    rows = []
    for i, step in enumerate(steps):
        row: dict[str, Any] = {"step": int(step)}
        row |= {key: float(values[i]) for key, values in columns.items()}
        rows.append(row)
    return Case(name, seed, label, frozenset(also.split()), rows)


def cases(seeds: range) -> list[Case]:
    """Every kind with every seed."""
    return [case(name, seed) for name in KINDS for seed in seeds]
