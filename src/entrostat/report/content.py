"""What a report shows, as plain data: the page draws nothing else, and the JSON twin holds all of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from entrostat.control.words import in_words
from entrostat.diagnosis import diagnose
from entrostat.diagnosis.findings import FEWEST, too_few
from entrostat.errors import ConfigError
from entrostat.logs import Run, read
from entrostat.logs.records import KINDS
from entrostat.logs.source import CONFIG
from entrostat.report.charts import charts_of, plane
from entrostat.report.tokens import COLUMNS, TokenSample, chosen, read_tokens
from entrostat.report.visible import one_line
from entrostat.run.folder import TOKENS

COMPLETIONS = 200
"""Completions on a page, over all its runs."""
_RUNS = 12


def content_of(paths: Sequence[str | Path], completions: int = COMPLETIONS) -> dict[str, Any]:
    """Everything that the report of these logs shows.

    Args:
        paths: logs of any host, run folders, or folders that hold run folders.
        completions: most that the token view holds.

    Raises:
        ConfigError, DataError: as `logs.read`; more runs than one page can show.
    """
    runs = [run for path in paths for each in _folders(Path(path)) for run in read(each, every=True)]
    if not runs:
        raise ConfigError("give at least one run folder or log")
    if len(runs) > _RUNS:
        raise ConfigError(f"one page can show at most {_RUNS} runs, got {len(runs)}")
    labels = _labels(runs)
    charts = charts_of(runs, labels)
    shown: list[dict[str, Any]] = []
    records = []
    share = max(completions // len(runs), 1)
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        samples, problems = read_tokens(run.path / TOKENS) if run.path.is_dir() else ([], [])
        picked = chosen(samples, share)
        if picked:
            charts.append(plane(picked, index, label, len(runs) > 1))
        records += [_record(index, sample) for sample in picked]
        shown.append(_run(run, label) | {"problems": problems, "recorded": len(samples), "records": len(picked)})
    return {
        "schema": 1,
        "entrostat": version("entrostat"),
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "runs": shown,
        "charts": charts,
        "tokens": records,
    }


def _folders(path: Path) -> list[Path]:
    """A folder of run folders, as `demo` and `compare` leave them, stands for these."""
    if path.is_dir() and not (path / CONFIG).exists():
        inner = sorted(each.parent for each in path.glob(f"*/{CONFIG}"))
        if inner:
            return inner
    return [path]


def _labels(runs: Sequence[Run]) -> list[str]:
    """Names that tell the runs apart: their own, with the folder above or a number where two are alike."""
    names = [one_line(run.name, 60) for run in runs]
    if len(set(names)) < len(names):
        names = [one_line(f"{run.path.parent.name}/{run.name}", 60) for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]


def _run(run: Run, label: str) -> dict[str, Any]:
    columns = [
        {"quantity": name, "column": one_line(c.key, 80), "unit": c.unit, "kind": KINDS.get(c.kind, "")}
        for name, c in run.columns.items()
    ]
    return {
        "label": label,
        "path": one_line(str(run.path), 200),
        "host": run.host,
        "format": run.form,
        "steps": len(run),
        "first": _plain(run.steps[0]) if len(run) else None,
        "last": _plain(run.steps[-1]) if len(run) else None,
        "findings": [_plain(finding.record) for finding in diagnose(run)],
        "judged": len(run) >= min(FEWEST.values()),
        "too_few": too_few(len(run)),
        "notes": [one_line(note.text, 400) for note in run.notes],
        "columns": columns,
        "config": _flat(run.config),
    }


def _record(run: int, sample: TokenSample) -> dict[str, Any]:
    """A recorded step as plain data; numbers at six digits."""
    columns = {name: [_plain(float(f"{x:.6g}")) for x in sample.columns[name].tolist()] for name in COLUMNS}
    would = {
        name: [round(min(max(x, 0.0), 5.1), 2) if math.isfinite(x) else 0.0 for x in values.tolist()]
        for name, values in sample.would.items()
    }
    return {
        "run": run,
        "step": sample.step,
        "lengths": sample.lengths,
        "full_lengths": sample.full_lengths,
        "rewards": [_plain(reward) for reward in sample.rewards],
        "prompts": sample.prompts,
        "ids": sample.ids,
        "columns": columns,
        "would": would,
        "terms": sample.terms,
        "texts": {str(token): text for token, text in sample.texts.items()},
        "vocabulary": [[token, _plain(total), count] for token, total, count in sample.vocabulary],
    }


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    """A configuration by dotted key, its values as text."""
    if isinstance(values, dict) and values:
        found: dict[str, str] = {}
        for key, value in values.items():
            found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {one_line(prefix, 120): one_line(in_words(values), 300)} if prefix else {}


def _plain(value: Any) -> Any:
    """JSON's values; text made visible; null for what JSON has no number for."""
    if isinstance(value, dict):
        return {one_line(str(key), 120): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return one_line(value, 1000)
    if isinstance(value, bool) or value is None:
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) and abs(number) < 1e15 else number
