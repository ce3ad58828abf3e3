"""What a diagnosis says, and the register of all that it can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrostat.logs.records import counted

SEVERE, WARNING, REMARK = "severe", "warning", "remark"
"""Severities: the run is lost or its numbers are wrong; something to look at; good to know."""

SEVERITIES = (SEVERE, WARNING, REMARK)


@dataclass(frozen=True)
class Finding:
    """One thing found in one run.

    Attributes:
        code: a key of `REGISTER`, such as "E101". title: its name, a few words.
        severity: "severe", "warning" or "remark".
        confidence: between 0 and 1: how clearly the columns show it. It is a judgment of the rule, not a probability.
        text: what was seen, with its numbers, a sentence or two.
        advice: what to do, with the setting in the host's own words.
        steps: first and last step of the evidence.
        quantity: the column that shows it best, for a plot; empty where there is none.
        numbers: the figures in `text`, by name.
        run: name of the run.
    """

    code: str
    title: str
    severity: str
    confidence: float
    text: str
    advice: str
    steps: tuple[float, float]
    quantity: str
    numbers: Mapping[str, float]
    run: str

    @property
    def record(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "run": self.run,
            "code": self.code,
            "title": self.title,
            "severity": self.severity,
            "confidence": self.confidence,
            "text": self.text,
            "advice": self.advice,
            "steps": list(self.steps),
            "quantity": self.quantity,
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True)
class Entry:
    """What can be found: its title, what it means, and what a person sees who has it."""

    title: str
    severity: str
    meaning: str
    symptom: str


REGISTER: Mapping[str, Entry] = {
    "E101": Entry(
        "entropy collapse",
        SEVERE,
        "The entropy fell to a small part of what it was, and learning stopped with it: the reward is flat or falls, the "
        "gradient is gone, all rewards of a group agree, or the completions are short.",
        "Entropy near zero, and the reward no longer rises",
    ),
    "E102": Entry(
        "entropy explosion",
        SEVERE,
        "The entropy rose to several times what it was while the reward fell: the policy writes noise.",
        "Entropy climbs to several nats, completions turn to gibberish",
    ),
    "E103": Entry(
        "entropy rising while the reward falls",
        WARNING,
        "The entropy rises and the reward falls with it, but the run is not lost yet. A rise alone may only be a bonus at work.",
        "Entropy drifts up, reward drifts down",
    ),
    "E104": Entry(
        "entropy exhausted",
        REMARK,
        "The reward R has followed the entropy H by R = -a exp(H) + b, and little entropy is left: by that law the reward is "
        "near its ceiling b.",
        "The reward flattens as the entropy nears zero",
    ),
    "E105": Entry(
        "entropy swings",
        WARNING,
        "The entropy swings about its mean with a regular period, by more than its noise.",
        "The entropy goes up and down like a wave",
    ),
    "E201": Entry(
        "output at its limit",
        WARNING,
        "The controller's output is at a limit in many steps: the controller asks for more than the limits allow.",
        "`saturated` is 1 for long, the entropy does not reach the target",
    ),
    "E202": Entry(
        "integral wind-up",
        WARNING,
        "The integral went on growing while the output was at its limit, so the output stayed there after the error had "
        "changed its sign.",
        "The entropy overshoots long after the output was at its limit",
    ),
    "E203": Entry(
        "no authority",
        WARNING,
        "The output can change the entropy per step by much less than training does by itself (the drift), or the output moved "
        "and the entropy did not.",
        "The output moves, the entropy does not follow",
    ),
    "E204": Entry(
        "target out of reach",
        WARNING,
        "The entropy stays on one side of its target and comes no nearer.",
        "The entropy never reaches the target",
    ),
    "E301": Entry(
        "no signal",
        WARNING,
        "In most groups all rewards are equal, so their advantages are 0 and nothing is learned from them.",
        "`frac_reward_zero_std` near 1, the loss near 0, the reward stands still",
    ),
    "E302": Entry(
        "dead run",
        SEVERE,
        "Reward and gradient are exactly 0, step after step: nothing changes any more.",
        "Reward 0, gradient 0, loss 0",
    ),
    "E303": Entry(
        "length collapse",
        SEVERE,
        "The completions shrank to a few tokens, and the reward did not rise with that.",
        "Completions become very short",
    ),
    "E304": Entry(
        "length explosion",
        WARNING,
        "The completions grew to several times their length, or run into their limit, and the reward did not rise with that.",
        "Completions grow to the limit",
    ),
    "E305": Entry(
        "gradient spike",
        WARNING,
        "The gradient's norm jumped to many times its usual size, or is not finite.",
        "`grad_norm` of hundreds or thousands, NaN losses",
    ),
    "E401": Entry(
        "batch too small for its curve",
        REMARK,
        "Most of what the curve of the entropy shows from step to step is noise of the batch, not a change of the policy.",
        "The curve of the entropy is a band of noise",
    ),
    "E402": Entry(
        "measured policy is not the one that samples",
        SEVERE,
        "The tokens were not sampled from the distribution whose entropy is measured. If they were, surprisal (-log p of the "
        "sampled tokens) would equal the entropy on average, and `token_entropy/D` would be 0.",
        "Surprisal and entropy differ; the predicted change is off",
    ),
    "E403": Entry(
        "units change in mid-run",
        WARNING,
        "The entropy jumps by a factor from one step to the next and nothing else does. The cause may be another unit, another "
        "way to average, or another temperature.",
        "The curve has a step in it",
    ),
    "E404": Entry(
        "restarts",
        REMARK,
        "The run was resumed or started again, or the log holds several runs.",
        "Steps that come twice",
    ),
    "E405": Entry(
        "no entropy in the log",
        REMARK,
        "The log has no column of the entropy, so the rules cannot judge it.",
        "`diagnose` says that there is no entropy",
    ),
    "E406": Entry(
        "NaN or infinite values",
        WARNING,
        "Entropy, reward or loss is NaN or infinite in some steps.",
        "NaN in the log",
    ),
}
"""Everything that can be found, by code: 1xx the entropy, 2xx the controller, 3xx the training, 4xx the measurement."""

FEWEST: Mapping[str, int] = {
    "E101": 8,
    "E102": 8,
    "E103": 29,
    "E104": 30,
    "E105": 40,
    "E201": 10,
    "E202": 15,
    "E203": 10,
    "E204": 20,
    "E301": 6,
    "E302": 8,
    "E303": 6,
    "E304": 6,
    "E305": 10,
    "E401": 30,
    "E402": 10,
    "E403": 16,
}
"""Rows below which a code is never found, whatever they hold. The others are read from the reader's notes, at any length."""


def nothing_found(rows: int) -> str:
    """What is said of a run of so many rows without findings."""
    if not (short := too_few(rows)):
        return "nothing found"
    return f"nothing found. {short}" if rows >= min(FEWEST.values()) else f"too little to judge. {short}"


def too_few(rows: int) -> str:
    """What so many rows are too few to find, as a sentence; empty where they are enough for everything."""
    names: dict[int, list[str]] = {}
    for code, fewest in sorted(FEWEST.items(), key=lambda each: each[1]):
        if rows < fewest:
            names.setdefault(fewest, []).append(f"{code} {REGISTER[code].title}")
    needed = "; ".join(f"{fewest} for {', '.join(own)}" for fewest, own in names.items())
    return f"The log has {counted(rows, 'row')}. Rows needed: {needed}." if needed else ""
