"""Rules about what is learned: groups without spread, dead runs, lengths, gradients."""

from __future__ import annotations

import numpy as np

from entrostat.diagnosis.evidence import Evidence, Facts
from entrostat.diagnosis.findings import FEWEST
from entrostat.logs.records import counted


def no_signal(facts: Facts) -> Evidence | None:
    """E301: most groups of the last third have no spread, and not because all is solved."""
    share = facts.no_spread
    column = facts.curve("no_spread") if len(facts.curve("no_spread")) else facts.curve("reward_std")
    if not (share >= 0.7 and len(column) >= FEWEST["E301"]) or dead(facts) is not None:
        return None
    tail = column.last(1 / 3)
    steps = tail.span
    numbers = {"share": share, "reward": facts.reward.end if len(facts.reward) else np.nan}
    if facts.solved:
        text = f"In {share:.0%} of the groups all rewards are equal, because {facts.reward.end:.0%} of the reward is reached."
        return Evidence(0.9, text, steps, _key(facts), numbers, "remark")
    where = f" at a reward of {facts.reward.end:.3g}" if len(facts.reward) else ""
    text = f"In {share:.0%} of the groups of the last third all rewards are equal{where}: nothing is learned from them."
    return Evidence(min(0.95, share), text, steps, _key(facts), numbers)


def _key(facts: Facts) -> str:
    return "no_spread" if len(facts.curve("no_spread")) else "reward_std"


def dead(facts: Facts) -> Evidence | None:
    """E302: reward and gradient (or, without one, the loss) exactly 0 at the end, row after row; or the gradient alone, for
    long, in a run that did not get there by solving everything."""
    reward = facts.reward
    gradient = facts.curve("grad_norm") if len(facts.curve("grad_norm")) else facts.curve("loss")
    if len(gradient) < FEWEST["E302"] or facts.solved:
        return None
    rows = min(reward.zeros_at_end(), gradient.zeros_at_end()) if len(reward) else 0
    least = max(8, len(reward) // 50)
    if rows >= least:
        began = float(reward.steps[-rows])
        what = "gradient" if len(facts.curve("grad_norm")) else "loss"
        text = f"Reward and {what} are exactly 0 in the last {rows} rows, from step {began:g} on."
        return Evidence(0.95, text, (began, float(reward.steps[-1])), "reward", {"rows": float(rows)})
    tail = gradient.last(1 / 3)
    share = float((tail.values == 0).mean())
    nothing = len(reward) >= 6 and float((reward.last(1 / 3).values == 0).mean()) >= 0.5 and reward.end == 0
    if nothing and share >= 0.3 and len(tail) >= 4:
        text = f"The reward is 0 and the gradient exactly 0 in {share:.0%} of the last third's rows."
        return Evidence(0.8, text, tail.span, "reward", {"share": share})
    if len(facts.curve("grad_norm")) and share >= 0.7 and len(tail) >= 8 and not facts.learned:
        text = f"The gradient is exactly 0 in {share:.0%} of the last third's rows, and the reward gained nothing."
        return Evidence(0.8, text, tail.span, "grad_norm", {"share": share})
    return None


def length_collapse(facts: Facts) -> Evidence | None:
    """E303: the completions are a quarter or less of what they were, and the reward did not gain by it."""
    length, share = facts.curve("length"), facts.shrunk
    if len(length) < FEWEST["E303"] or not share <= 0.25 or facts.learned:
        return None
    outcome = facts.outcome
    tiny = length.end < 8
    if not (tiny or (outcome.known and outcome.lost) or facts.no_spread >= 0.7 or facts.still >= 0.5):
        return None
    start = max(float(length.values[0]), length.start)
    short = length.smooth <= start / 4
    at = float(length.steps[int(np.argmax(short))]) if short.any() else float(length.steps[-1])
    text = f"The completions shrank from {start:.4g} to {length.end:.3g} tokens, below a quarter by step {at:g}"
    text += "; the reward fell." if outcome.lost else "; the reward gained nothing." if outcome.known else "."
    numbers = {"start": start, "end": length.end, "share": share}
    confidence = 0.6 + 0.15 * tiny + 0.2 * (facts.still >= 0.5 or outcome.lost)
    return Evidence(min(confidence, 0.95), text, (at, float(length.steps[-1])), "length", numbers)


def length_explosion(facts: Facts) -> Evidence | None:
    """E304: most completions are cut at the limit; or they grew to two and a half times, and the reward did not."""
    length, cut = facts.curve("length"), facts.curve("truncated")
    if len(cut) >= FEWEST["E304"]:
        tail = cut.last(1 / 3)
        share = float(tail.values.mean())
        if share >= 0.6 and not facts.solved:
            text = (
                f"In the last third {share:.0%} of the completions are cut at the length limit, before their answers."
            )
            return Evidence(min(0.95, share), text, tail.span, "truncated", {"share": share})
    if len(length) < 10 or length.start <= 0 or length.end < 2.5 * length.start or not facts.outcome.known:
        return None
    low = int(np.argmin(length.smooth))
    grown = facts.reward.since(float(length.steps[low]))
    if length.end < 2.5 * length.smooth[low] or len(grown) < 9:
        return None
    change, error = grown.trend()
    if change > max(2 * error, 0.02 * abs(grown.start)) or not (facts.outcome.lost or change < -2 * error):
        return None
    text = f"The completions grew from {length.start:.4g} to {length.end:.4g} tokens while the reward changed by {change:+.3g}."
    steps = (float(length.steps[low]), float(length.steps[-1]))
    return Evidence(0.7, text, steps, "length", {"start": length.start, "end": length.end, "reward_change": change})


def gradient_spike(facts: Facts) -> Evidence | None:
    """E305: a gradient a hundred times its median, beyond what it reaches elsewhere; severe where the reward was lost."""
    values, steps = facts.run["grad_norm"], facts.run.steps
    gradient = facts.curve("grad_norm")
    if len(gradient) < FEWEST["E305"]:
        return None
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        at = float(steps[infinite[0]])
        text = f"The gradient is infinite in {counted(len(infinite), 'row')}, first at step {at:g}."
        return Evidence(0.9, text, (at, float(steps[infinite[-1]])), "grad_norm", {"rows": float(len(infinite))})
    alive = gradient.values[gradient.values > 0]
    if len(alive) < 10:
        return None
    usual, top = float(np.median(alive)), int(np.argmax(gradient.values))
    high = float(gradient.values[top])
    if high < max(100 * usual, 5 * float(np.quantile(alive, 0.95)), 10.0):
        return None
    at = float(gradient.steps[top])
    lost = facts.outcome.lost
    text = f"The gradient's norm reached {high:.3g} at step {at:g}, {high / usual:,.0f} times its median"
    text += "; the reward was lost later." if lost else "."
    numbers = {"high": high, "median": usual}
    return Evidence(0.85 if lost else 0.7, text, (at, at), "grad_norm", numbers, "severe" if lost else "")
