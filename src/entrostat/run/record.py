"""A run folder read back. Imports neither torch nor any host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from entrostat.core.yaml_file import parse
from entrostat.errors import DataError
from entrostat.run.folder import CONFIG, ENVIRONMENT, METRICS, SUMMARY, read_metrics


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        metrics: one mapping per line of `metrics.jsonl`, in order; step 0 holds the evaluation before training.
        config: the resolved configuration.
        summary: empty while the run has not finished.
        environment: versions and machine.
    """

    path: Path
    metrics: list[dict[str, Any]]
    config: dict[str, Any]
    summary: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a folder; `DataError` where it holds no run or a file of it is damaged."""
        folder = Path(path)
        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder} holds no run: it has no {CONFIG}")
        try:
            return cls(
                folder,
                read_metrics(folder / METRICS) if (folder / METRICS).exists() else [],
                _yaml(folder / CONFIG),
                _json(folder / SUMMARY),
                _json(folder / ENVIRONMENT),
            )
        except (OSError, ValueError) as error:
            raise DataError(f"the run in {folder} cannot be read: {error}") from error

    @property
    def name(self) -> str:
        """The method's name, for legends."""
        return str(self.config.get("method", {}).get("name", self.path.name))

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The lines of optimizer steps: those that measured an entropy."""
        return [row for row in self.metrics if row.get("entropy_control/measured") is not None]

    def column(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric, where it was logged."""
        pairs = [(row["step"], row[key]) for row in self.metrics if row.get(key) is not None]
        return [step for step, _ in pairs], [float(value) for _, value in pairs]


def _yaml(path: Path) -> dict[str, Any]:
    values = parse(path.read_text(encoding="utf-8"), str(path))
    return values if isinstance(values, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
