"""Which checkpoint a run goes on from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

GENERATION = "generation_{rank}.pt"
NEEDED = ("trainer_state.json", "entrostat_state.json", GENERATION.format(rank=0))


@dataclass(frozen=True)
class Found:
    """The newest complete checkpoint (None: there is none) and the newer ones that are incomplete."""

    newest: Path | None
    skipped: tuple[Path, ...]

    @property
    def step(self) -> int:
        """The optimizer step that it was made at; 0 without one."""
        return step_of(self.newest) if self.newest else 0


def find(folder: Path) -> Found:
    """Look through `checkpoint-<step>` folders, newest first."""
    candidates = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    skipped: list[Path] = []
    for path in sorted(candidates, key=step_of, reverse=True):
        if is_complete(path):
            return Found(path, tuple(skipped))
        skipped.append(path)
    return Found(None, tuple(skipped))


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def is_complete(path: Path) -> bool:
    """Whether it was written to the end: the host's state comes last, after weights and optimizer."""
    if not all((path / name).is_file() for name in NEEDED):
        return False
    try:
        return int(json.loads((path / NEEDED[0]).read_text())["global_step"]) == step_of(path)
    except (ValueError, KeyError, TypeError, OSError):
        return False
