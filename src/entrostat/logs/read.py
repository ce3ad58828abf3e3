"""Any log of any host as runs: `read(path)`. Imports neither torch nor any host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrostat.errors import ConfigError, DataError
from entrostat.logs.console import STEP
from entrostat.logs.names import QUANTITIES, bare, near, role_of
from entrostat.logs.records import SUM, UNKNOWN, Column, Note, Run
from entrostat.logs.remarks import CORE, interval_of, notes_of
from entrostat.logs.source import Source

if TYPE_CHECKING:
    from entrostat.logs.table import Table

_TRAINED = frozenset({*CORE, "kl", "length", "evaluation", "reward_std", "no_spread"})
"""Quantities of which a log of training holds at least one."""

_MOST_NATS = 14.0
"""No vocabulary has 1.2 million tokens, so that no distribution over one has more entropy."""

_GENERIC = frozenset(
    {
        *("entropy", "reward", "kl", "loss", "grad_norm", "learning_rate", "reward_std", "accuracy", "scores"),
        *("reward/mean", "policy_loss", "kl_loss", "ppo_kl", "pg_clipfrac", "response_length", "response_lengths"),
        *("training_loss", "policy/entropy", "sequence_lengths"),
    }
)
"""Keys that many write: they say nothing about the host where none of its own stands beside them."""


def read(path: str | Path, columns: Mapping[str, str] | None = None, every: bool = False) -> list[Run]:
    """The runs of a log of any trainer: one, or several if the file holds several.

    Args:
        path: a file or folder. A run folder of Entrostat's; TRL's `trainer_state.json`, a list of its rows, or its console;
            verl's console or file logger; the console or metrics of Tinker, prime-rl, slime, miles, OpenRLHF, SkyRL, AReaL,
            NeMo-RL, ms-swift, open-instruct; TensorBoard event files; W&B's CSV or JSON exports and offline runs; trackio's
            database; any JSON, JSON lines, CSV or Parquet. Also compressed with gzip, or the only log in a zip archive.
        columns: quantity -> the log's own key, if it is not found by its name: `{"entropy": "my_entropy"}`.
        every: also keep every other number under its own key in `Run.others`. By default only the known quantities are kept.

    Returns:
        Runs in the order of the log, each with increasing steps. Their notes say what is special about them.

    Raises:
        ConfigError: there is no such file, or no such column; the message has similar names.
        DataError: the log cannot be read, or holds nothing of a training run; the message says why.
    """
    from entrostat.logs.sources import source_of

    return _runs_of(source_of(Path(path)), Path(path), _checked(columns or {}), every)


def from_rows(rows: Iterable[Mapping[str, Any]], name: str = "run") -> list[Run]:
    """As `read`, of rows in memory: a mapping of metrics for each step, as trainers log them.

    Raises:
        DataError: they hold nothing of a training run.
    """
    source = Source(name, "rows", lambda: ((dict(row), "") for row in rows))
    return _runs_of(source, Path(name), {}, every=False)


def _runs_of(source: Source, path: Path, wanted: Mapping[str, str], every: bool) -> list[Run]:
    from entrostat.logs.table import parts_of

    tables, keys = _tables(source, path, _keeper(set(wanted.values()), every))
    if not tables:
        raise DataError(f"{path}: {source.found_nothing(keys)}")
    for name, key in wanted.items():
        if not any(key in table.columns for table in tables.values()):
            close = near(keys, key)
            hint = f"; near it are {', '.join(map(repr, close))}" if close else f"; there are {_some(keys)}"
            raise ConfigError(f"{path}: there is no column {key!r} for the {name}{hint}")
    choices = {
        label: {name: key for name, key in _choices(table, wanted).items() if name in QUANTITIES}
        for label, table in tables.items()
        if all(key in table.columns for key in wanted.values())
    }
    held = {name for choice in choices.values() for name in choice}
    core = next((name for name in (*CORE, *QUANTITIES) if name in held), None)
    if core is None or not (wanted or held & _TRAINED):
        raise DataError(f"{path}: {source.found_nothing({key: kept for key, kept in keys.items() if key != STEP})}")
    left_out = [label for label in tables if core not in choices.get(label, ())]
    runs = []
    for label, choice in choices.items():
        if label in left_out:
            continue
        table = tables[label]
        host = source.host or _host(table.keys)
        kind = _kind(table, choice["entropy"]) if "entropy" in choice else ""
        common = notes_of(table, choice, kind, source)
        if left_out:
            named = _some([each or "rows without a name" for each in left_out], 4)
            common.append(Note("left-out", f"parts of the log without {core} were left out: {named}"))
        for part in parts_of(table, table.values(choice[core]), label, wanted.get("step")):
            taken = {name: _column(table, part, name, key) for name, key in choice.items()}
            _ratios(table, part, taken)
            others = {key: Column(key, key, part.take(table.values(key))) for key in table.columns} if every else {}
            runs.append(
                Run(
                    path=path,
                    name=part.label or source.name,
                    host=host,
                    form=source.form,
                    steps=part.steps,
                    columns=taken,
                    others=others,
                    keys=tuple(table.keys),
                    notes=(*common, *part.notes, *interval_of(part.steps, source.every)),
                    config=source.config,
                )
            )
    return runs


def _tables(source: Source, path: Path, keep: Callable[[str], bool]) -> tuple[dict[str, Table], dict[str, bool]]:
    """The rows of each run by its label, and every key that any of them held a number under.

    Each run has a table of its own: runs of one folder need not call the entropy alike.
    """
    from entrostat.logs.table import Table, run_of

    tables: dict[str, Table] = {}
    try:
        for row, label in source.rows():
            name = label or run_of(row)
            table = tables.get(name)
            if table is None:
                table = tables[name] = Table(keep)
            table.add(row)
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    keys = {key: kept for table in tables.values() for key, kept in table.keys.items()}
    return {label: table for label, table in tables.items() if table.rows}, keys


def _checked(columns: Mapping[str, str]) -> dict[str, str]:
    for name in columns:
        if name not in QUANTITIES and name != "step":
            close = near(QUANTITIES, name)
            raise ConfigError(f"columns: {name!r} is no quantity; there are step, {', '.join(close or QUANTITIES)}")
    return dict(columns)


def _keeper(named: set[str], every: bool) -> Callable[[str], bool]:
    def keep(key: str) -> bool:
        return every or key in named or key == STEP or role_of(key) is not None

    return keep


def _choices(table: Any, wanted: Mapping[str, str]) -> dict[str, str]:
    """The key of each quantity: the one asked for; else the most preferred that holds at least half of what the fullest does."""
    import numpy as np

    candidates: dict[str, list[tuple[tuple[int, int], int, str]]] = {}
    for place, key in enumerate(table.columns):
        role = role_of(key)
        if role is None or role.name == "step":
            continue
        values = table.values(key)
        count = int(np.isfinite(values).sum())
        if role.name == "entropy" and count and float(np.nanmax(values)) <= 0:
            continue  # a term of the loss, with its sign and coefficient; or 0 throughout, where a host computes none
        if count:
            candidates.setdefault(role.name, []).append(((role.rank, place), count, key))
    chosen = dict(wanted)
    if "entropy" not in chosen and "entropy" in candidates:
        chosen["entropy"] = _preferred(candidates["entropy"])
    if "entropy" in chosen:
        # What comes more often than the entropy, and not in its rows, is of samples or micro-batches.
        rows = np.isfinite(table.values(chosen["entropy"]))
        for name, found in candidates.items():
            of_steps = [
                (rank, count, key)
                for rank, count, key in found
                if 2 * count <= 3 * rows.sum() or 2 * np.isfinite(table.values(key)[rows]).sum() >= rows.sum()
            ]
            candidates[name] = of_steps or found
    return {name: _preferred(found) for name, found in candidates.items()} | chosen


def _preferred(found: list[tuple[tuple[int, int], int, str]]) -> str:
    fullest = max(count for _, count, _ in found)
    return min(each for each in found if 2 * each[1] >= fullest)[2]


def _column(table: Any, part: Any, name: str, key: str) -> Column:
    role = role_of(key)
    values = part.take(table.values(key)) * (role.scale if role else 1.0)
    kind, unit = "", QUANTITIES[name]
    if name == "entropy":
        kind = _kind(table, key)
        unit = "nats per completion" if kind == SUM else unit
    if key.startswith("objective/") and name == "kl":
        unit = "nats per completion"  # TRL's PPO adds it up over the tokens
    if name == "no_spread" and key.endswith("/frac_mixed"):
        values = 1 - values
    return Column(name, key, values, unit, kind)


def _kind(table: Any, key: str) -> str:
    """How the entropy was computed, by its key; a sum, where it is more than any distribution over tokens can have."""
    import numpy as np

    if float(np.nanmedian(table.values(key))) > _MOST_NATS:
        return SUM
    role = role_of(key)
    return role.kind if role is not None and role.name == "entropy" else UNKNOWN


def _ratios(table: Any, part: Any, taken: dict[str, Column]) -> None:
    """A reward that is logged as a sum beside its count."""
    if "reward" in taken and "sum of" not in taken["reward"].key:
        return
    for key in table.columns:
        role = role_of(key)
        if role is None or role.name != "sum of reward":
            continue
        head = key[: -len(key.rsplit("/", 1)[-1])]
        count = f"{head}total_num"
        if count in table.columns:
            values = part.take(table.values(key)) / part.take(table.values(count))
            taken["reward"] = Column("reward", f"{key} / {count}", values)
        else:
            taken["reward"] = Column("reward", key, part.take(table.values(key)))
        return


def _host(keys: Mapping[str, bool]) -> str:
    """The host that most of a log's own keys belong to."""
    votes: dict[str, int] = {}
    for key in keys:
        role = role_of(key)
        if role is not None and role.host != "-" and bare(key) not in _GENERIC:
            votes[role.host] = votes.get(role.host, 0) + (100 if role.host in ("entrostat", "roll") else 1)
    return max(votes, key=lambda host: votes[host]) if votes else "unknown"


def _some(keys: Collection[str], count: int = 12) -> str:
    shown = ", ".join(map(repr, list(keys)[:count]))
    return f"{shown} and {len(keys) - count} more" if len(keys) > count else shown or "none that hold numbers"
