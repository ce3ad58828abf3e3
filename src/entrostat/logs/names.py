"""What a key of a log stands for.

A key is looked up in `keys` as it stands, then without a leading `train/`, as trackers write it; `GUESSES` take what no framework
is known to write.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from entrostat.logs.keys import ENTROPY, OTHERS
from entrostat.logs.records import UNKNOWN

QUANTITIES: Mapping[str, str] = {
    "entropy": "nats per token",
    "reward": "",
    "reward_std": "",
    "no_spread": "share",  # of groups whose rewards are all equal
    "kl": "nats per token",
    "length": "tokens",
    "truncated": "share",  # of completions cut at the length limit
    "grad_norm": "",
    "clip_fraction": "share",
    "learning_rate": "",
    "loss": "",
    "evaluation": "",
    "standard_error": "nats per token",  # of a step's mean entropy, from its own batch
    "surprisal": "nats per token",
    "centered": "",  # mean of the centered discriminator D over the sampled tokens
    "target": "nats per token",
    "output": "",  # of the controller
    "knob": "",  # that a schedule or a step controller moves
    "saturated": "share",  # of the steps behind a row, at a limit of the output
    "integral": "",
    "reachable": "share",
    "identified": "",
    "authority_low": "nats per token",
    "authority_high": "nats per token",
    "predicted": "nats per token",
    "tokens": "tokens",
}
"""Every quantity with its unit."""

STEPS = (
    "optimizer_step",
    "step",
    "global_step",
    "training/global_step",
    "trainer/global_step",
    "global_step/max_steps",
    "training_step",
    "train_step",
    "ppo_update",
    "progress/batch",
    "iteration",
    "iter",
    "update",
    "updates",
    "steps",
    "grpo_step",
    "rollout_step",
    "rollout_id",
    "_step",
)
"""Keys of the step, by preference; W&B's `_step` counts calls of its logger and comes last."""

RUNS = ("run", "run_id", "run_name", "experiment", "experiment_name", "exp_name", "trial")
"""Columns of text that tell several runs of one file apart."""

HELD_OUT = frozenset({"eval", "evaluation", "val", "valid", "validation", "test", "dev"})
"""Values of `type`, `split`, `mode`, ... in rows that are not of training."""

RATIOS = {"total_reward": ("reward", "total_num")}
"""A sum and, beside it, the count that makes it a mean: `reward_data: {'total_num': 256, 'total_reward': 144.0}`."""


@dataclass(frozen=True)
class Role:
    """What a key stands for. `rank` is its place among the keys of its quantity; `scale` turns its values into the unit."""

    name: str
    rank: int
    host: str = "-"
    kind: str = ""
    scale: float = 1.0


def _table() -> dict[str, Role]:
    table: dict[str, Role] = {}
    for rank, line in enumerate(ENTROPY.split("\n")):
        if line:
            key, host, kind = line.split()
            table[key] = Role("entropy", rank, host, kind)
    for name, lines in OTHERS.items():
        for rank, line in enumerate(lines.strip().split("\n")):
            key, host = line.rsplit(" ", 1)
            table.setdefault(key, Role(name, rank, host))
    for rank, key in enumerate(STEPS):
        table[key] = Role("step", rank)
    return table


TABLE = _table()
_LOWER = {key.lower(): role for key, role in TABLE.items()}

GUESSES: Mapping[str, re.Pattern[str]] = {
    "entropy": re.compile(r"(?:^|.*[/_ .])entropy(?:[/_ .](?:mean|avg|average|all|per[_ ]token|token|tokens))*", re.I),
    "reward": re.compile(
        r"(?:.*[/_ .])?(?:reward|rewards)(?:[/_ .](?:mean|avg))*|(?:mean|avg|average)[ _]rewards?", re.I
    ),
    "length": re.compile(
        r".*(?:response|completion|gen(?:eration)?)s?[/_ .]?len(?:gth)?s?(?:[/_ .](?:mean|avg))*", re.I
    ),
    "grad_norm": re.compile(r"(?:.*[/_ .])?grad(?:ient)?\.?[/_ ]?norm\.?(?:[/_ .](?:mean|avg))*", re.I),
    "learning_rate": re.compile(r"(?:.*[/_ .])?(?:lr|learning[_ ]rate)", re.I),
    "kl": re.compile(r"(?:.*[/_ .])?kl(?:[/_ .](?:mean|avg|loss|div|divergence))*", re.I),
    "loss": re.compile(r"loss", re.I),
}
_NOT = re.compile(
    r"coef|coeff|target|bonus|weight|[/_ ](?:min|max|std|var|median)\b|advantage|value|critic/(?!rew|score|kl|entropy)",
    re.I,
)
_NOT_ENTROPY = re.compile(
    r"(?:cross|ref|reference|teacher|student|router|routing|expert|attention|attn|prompt|semantic|initial|old|max|min)"
    r"[_ ]?entropy",
    re.I,
)
_BITS = re.compile(r"(.*entropy.*?)(?:[_ ]in)?[_ (/]+bits\)?", re.I)
_HELD_OUT_KEY = re.compile(r"(?:^|/)(?:eval|val|valid|validation|test|dev)[/_-]", re.I)
_PREFIX = re.compile(r"^(?:train|training|train_metrics|metrics|data|logs?)/")
_SCALED = re.compile(r"^(.*)\((1e-?\d+)\)$")  # verl once wrote `actor/lr(1e-4)`


@lru_cache(maxsize=4096)
def role_of(key: str) -> Role | None:
    """What a key stands for; None for one that is not needed."""
    key = key.replace(" / ", "/")  # as notebooks show it
    if found := TABLE.get(key):
        return found
    if scaled := _SCALED.match(key):
        inner = role_of(scaled[1])
        return inner and Role(inner.name, inner.rank, inner.host, inner.kind, float(scaled[2]))
    if (bits := _BITS.fullmatch(key)) and (inner := role_of(bits[1])) and inner.name == "entropy":
        return Role(inner.name, 80, "-", UNKNOWN, math.log(2))
    plain = _PREFIX.sub("", key)
    if (
        found := TABLE.get(plain)
        or _LOWER.get(plain.lower().replace(". ", "_").replace(" ", "_"))
        or _LOWER.get(plain.lower())
    ):
        return found
    tail = plain.rsplit("/", 1)[-1]
    if tail in RATIOS:
        return Role(f"sum of {RATIOS[tail][0]}", 0)
    if tail in {count for _, count in RATIOS.values()}:
        return Role(tail, 0)
    if _HELD_OUT_KEY.search(key):
        return (
            Role("evaluation", 90) if re.search(r"reward|acc|score|pass", key, re.I) and not _NOT.search(key) else None
        )
    if _NOT.search(plain) or _NOT_ENTROPY.search(plain):
        return None
    for name, pattern in GUESSES.items():
        if pattern.fullmatch(plain):
            return Role(name, 80 + plain.count("/"), "-", UNKNOWN if name == "entropy" else "")
    return None


def bare(key: str) -> str:
    """A key in small letters, without what a tracker puts before it."""
    return _PREFIX.sub("", key).lower().replace(". ", "_").replace(" ", "_")


_NEAR = 5


def near(keys: Iterable[str], wanted: str = "entropy") -> list[str]:
    """Up to five keys of a log that look most like a quantity or a key somebody asked for."""
    keys = list(keys)
    parts = [key for key in keys if wanted.lower()[:5] in key.lower()]
    folded: dict[str, str] = {}
    for key in keys:
        for form in (key.lower(), key.lower().rsplit("/", 1)[-1]):
            folded.setdefault(form, key)
    close = [folded[form] for form in difflib.get_close_matches(wanted.lower(), list(folded), n=_NEAR, cutoff=0.55)]
    return list(dict.fromkeys(parts + close))[:_NEAR]
