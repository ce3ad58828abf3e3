"""What a reader of a log has to know about it: missing entropies, estimates, numbers that are none, steps left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from entrostat.logs.names import STEPS, near, role_of
from entrostat.logs.records import EXACT, KINDS, Note, counted

if TYPE_CHECKING:
    from entrostat.logs.records import Values

CORE = ("entropy", "reward", "loss", "grad_norm")
"""Quantities that a run stands on: a NaN there is a fault, elsewhere a gap."""


def notes_of(table: Any, choice: Mapping[str, str], kind: str, source: Any) -> list[Note]:
    notes = list(source.notes())
    if "entropy" not in choice:
        close = near(key for key in table.keys if (role := role_of(key)) is None or role.name != "entropy")
        hint = (
            f"; nearest are {', '.join(map(repr, close))}: name one with --column entropy=KEY (tune: --entropy KEY)"
            if close
            else ""
        )
        notes.append(Note("no-entropy", f"the log holds no entropy{_left_out(table)}{hint}"))
    else:
        if kind != EXACT:
            notes.append(Note(f"entropy-{kind}", f"entropy is {choice['entropy']!r}: {KINDS[kind]}"))
        if (role := role_of(choice["entropy"])) and role.scale != 1:
            notes.append(
                Note("entropy-scaled", f"{choice['entropy']!r} was multiplied by {role.scale:.3g}, to be in nats")
            )
    used = set(choice.values())
    strange = {key: count for key, count in table.strange.items() if key in used or key in table.keys}
    core = {
        key: count for key, count in strange.items() if (role := role_of(key)) and role.name in CORE and role.rank < 80
    }
    if core:
        notes.append(Note("not-finite-core", f"NaN or infinite values in {_counted(core)}"))
    if rest := {key: count for key, count in strange.items() if key not in core}:
        notes.append(Note("not-finite", f"NaN or infinite values in {_counted(rest)}"))
    if source.form not in ("CSV", "TensorBoard event files") and any(key in used for key in table.texts):
        notes.append(Note("numbers-as-text", f"numbers are written as text in {_counted(table.texts)}"))
    unfit = {key: text for key, text in table.unfit.items() if key not in table.columns and key not in STEPS}
    if unfit:
        key, text = next(iter(unfit.items()))
        notes.append(Note("no-number", f"{key!r} holds text such as {text!r} and was left out"))
    return notes


def _left_out(table: Any) -> str:
    """Columns with an entropy's name that hold none."""
    import numpy as np

    found = []
    for key in table.columns:
        if (role := role_of(key)) and role.name == "entropy":
            values = table.values(key)
            if not np.isfinite(values).any():
                why = "is NaN or infinite in every row"
            elif np.nanmin(values):
                why = "is a term of the loss: it is negative"
            else:
                why = "was not computed: it is 0 in every row"
            found.append(f"{key!r} {why}")
    return f" ({', '.join(found[:3])})" if found else ""


def interval_of(steps: Values, said: int | None) -> list[Note]:
    import numpy as np

    if said is not None and said > 1:
        return [Note("logged-every", f"each row is a mean over {said} steps (logging_steps)", (float(said),))]
    if len(steps) < 3:
        return []
    usual = float(np.median(np.diff(steps)))
    if usual > 1:
        return [Note("logged-every", f"one row in {usual:g} steps: each may be a mean over them", (usual,))]
    gaps = np.flatnonzero(np.diff(steps) > 1)
    if len(gaps):
        text = f"steps are missing in {counted(len(gaps), 'place')}, first after step {steps[gaps[0]]:g}"
        return [Note("gaps", text, tuple(steps[gaps[:100]].tolist()))]
    return []


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{key!r} ({count})" for key, count in list(counts.items())[:4]]
    return ", ".join(shown) + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")
