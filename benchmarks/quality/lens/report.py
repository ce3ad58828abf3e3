"""`results.json` and `tiny.json` as a page: `python benchmarks/quality/lens/report.py` writes README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import cell, machine, table
from common.seeds import over_seeds
from policies import ready

from entrostat.methods import card
from entrostat.types import Statistic

HERE = Path(__file__).parent
TINY_CLEAR = 0.1
CLEAR = 0.02  # of the plain change: a smaller effect has no sign worth the name
STALE = ("clip_higher", "flexible_clip", "ce_gppo", "gppo", "kl_cov", "lp_reg", "bapo_balanced")

PAGE = """# Foreseen and measured: what each method does to the entropy

Written by `report.py` from `results.json`, which `run.py` makes. Exact tabular policies, {seeds} seeds, {steps} optimizer
steps, four on each batch; every method beside plain training from the same start with the same random numbers. Values are
mean ± standard deviation over seeds, as shares of how far plain training moved the entropy; it ends at {plain:.1%} of the
initial entropy. So +1 is a method that keeps all of it, and -1 one under which it falls twice as far.

* foreseen: the sum, over the batches of the plain run, of what the lens predicts the method to change.
* own steps: the same for the method's own run, exact to first order, all its terms included.
* measured: entropy at the end, less that of plain training.
* same sign: seeds in which foreseen and measured have one sign, of those in which both are larger than {clear:.0%}.
* reward: at the end, less that of plain training.

{machine}

## Methods without a target

{free}

The signs agree in {agree} of {seen} runs in which both are clear.

**Where they differ, why.**

* *Little of it is the size of the steps.* Own steps and measured differ by {curvature:.3f} in the median. The second order
  lowers the entropy: it makes {second:.0%} of plain training's own fall, and more where steps are large, as without a
  baseline (`psr`) or with a mean over a fifth of the tokens (`high_entropy_tokens`).
* *The method's own run goes elsewhere.* On the plain run's batches a wider clip, or none, gives back tokens that the clip
  had stopped, and those raise the entropy (foreseen {stale_foreseen:+.2f} in the mean of {stale_names}). In a run of its own
  the policy learns faster by it (reward {stale_reward:+.3f}), and a policy that learns is one whose entropy falls: measured
  {stale_measured:+.2f}. The lens speaks of a step at equal policies, not of a run at equal time. Over all methods here the
  entropy at the end and the reward at the end are correlated by {correlation:.2f}.
* *A mean over fewer tokens is a larger step.* Where what is dropped leaves the denominator too (`psr`, `nsr`, `stapo`,
  `high_entropy_tokens`, `rsi_s`), the step is as much larger as tokens are fewer. The lens counts that: `psr`, which keeps the
  successes alone, takes several times the step.
* *A smaller scale is a slower run.* `ar` scales all advantages down. That slows this plain gradient descent and would not slow
  AdamW.
* *What the lens does not see*: {unseen}; and of `scope` that its groups are sampled otherwise.

## Which way `entropy_advantage` goes

{advantage}

## Methods that hold a target

They were asked for the initial entropy; `entrocraft` and `aepo_qwenlong`, which know a band, for 0.9 to 1.1 of it. The lens sees
them at their controller's first output, so what it foresees is the range: on how many of the plain run's batches some output
would have turned the fall round.

{held}

`hold` and `flow` can turn every batch, and do. `entropic` cannot where no token has p > 0.95, as here. The others act within
limits that are small for {steps} steps of this policy (`skywork`'s coefficient, a clip), or through the sampling alone. {idle}

## The tiny policy, beside the exact ones

Written from `tiny.json`, which `tiny.py` makes: the transformers model that `entrostat train` uses, countdown, AdamW,
{tiny_steps} steps of 48 completions, two on each batch, so that methods which act on stale data alone can act. Plain training
moves the entropy by {tiny_moved} of the start. Entropy and reward are of 512 completions of held-out problems; the reward's
own standard error is 0.02. Methods without a target are compared by sign where foreseen and measured exceed {tiny_clear:.0%}.

{tiny}

Signs agree in {tiny_agree} of {tiny_seen} runs in which both exceed that.

**Where the two differ, why.** AdamW divides by the size of the gradient: a step that is merely larger or smaller is no faster
or slower run, and what remains is the direction. That is small for `psr`, `ar`, `wapo`, `lopti` and `pass_at_k`. For
`high_entropy_tokens` and `rsi_s` the mean over the kept tokens makes the foreseen fall several times as large; under AdamW that
factor is gone, and the entropy ends above plain training's. The policy shares its parameters between tokens, and momentum carries
earlier batches on; the lens sees neither. A batch of 48 completions is noisy: runs that differ by a little part ways, so weak
methods change their sign between seeds.
"""


ADVANTAGE = """It adds min(alpha H, |A| / kappa) to each advantage, mostly |A| / kappa. Of a group with a share q of
right answers |A| = (1 - 2 q) A + c, so that

    A + |A| / kappa  =  A (1 + (1 - 2 q) / kappa)  +  c / kappa

The first part is plain training by a larger step where fewer than half of the answers are right, and by a smaller one where
more are: there the entropy falls more slowly, as in its paper. The second part rewards whatever was sampled. On fresh samples
that does nothing on average, since the mean of D is 0; on samples that were trained on already it lowers the entropy. So prompts
that are mostly solved or mostly not, and one update or four on each batch (`advantage.json`, which `advantage.py` makes, {seeds}
seeds; shares of how far plain training moved the entropy):

{table}

The lens has the sign right in {agree} of {settings}. In the tables above and below few answers are right, so it lowers; in
[methods at one entropy](../equal_entropy/README.md), where most are, it raises, a little. The tiny policy's seeds scatter by more
than the effect, so that a sign there says nothing."""


def free(record: dict[str, Any], names: list[str]) -> tuple[str, int, int]:
    """The table, in how many runs the signs agree, and in how many both are clear."""
    rows, agree, seen = [], 0, 0
    for name in names:
        each = of(record, name)
        clear = [one for one in each if min(abs(one["foreseen"]), abs(one["measured"])) > CLEAR]
        same = sum(one["foreseen"] * one["measured"] > 0 for one in clear)
        agree, seen = agree + same, seen + len(clear)
        numbers = [cell(over_seeds([one[key] for one in each]), digits=2) for key in ("foreseen", "first", "measured")]
        reward = cell(over_seeds([one["reward"] for one in each]), digits=2)
        rows.append([f"`{name}`", card(name).effect, *numbers, f"{same} of {len(clear)}" if clear else "", reward])
    return table(["method", "says", "foreseen", "own steps", "measured", "same sign", "reward"], rows), agree, seen


def held(record: dict[str, Any], names: list[str]) -> str:
    """Those with a target, the one that came nearest first."""

    def distance(name: str) -> float:
        return median(abs(one["end"] - 1) for one in of(record, name))

    rows = []
    for name in sorted(names, key=distance):
        each = of(record, name)
        turns = "" if "loss" not in ready(name, 1.0).stages else f"{fmean(one['turns'] for one in each):.0%}"
        numbers = [cell(over_seeds([one[key] for one in each]), digits=2) for key in ("measured", "reward")]
        rows.append([f"`{name}`", turns, *numbers, f"{distance(name):.1%}"])
    return table(["method", "can turn", "measured", "reward", "distance from the target, median"], rows)


def of(record: dict[str, Any], name: str) -> list[dict[str, float]]:
    return [seed["methods"][name] for seed in record["seeds"]]


def idle(record: dict[str, Any], names: list[str]) -> str:
    """Those whose band the entropy never left."""
    still = [name for name in names if all(one["measured"] == 0 for one in of(record, name))]
    banded = [f"`{name}`" for name in ("entrocraft", "aepo_qwenlong") if name in still]
    return f"{' and '.join(banded)} did nothing: the entropy never left the band." if banded else ""


def advantage(record: dict[str, Any]) -> str:
    """Why one method raises here and lowers there, from `advantage.json`."""
    rows, agree = [], 0
    for needed in sorted({row["needed"] for row in record["rows"]}):
        for updates in sorted({row["updates"] for row in record["rows"]}):
            some = [row for row in record["rows"] if (row["needed"], row["updates"]) == (needed, updates)]
            numbers = [cell(over_seeds([row[key] for row in some]), digits=2) for key in ("foreseen", "measured")]
            shares = [
                sum(row["added"][place] for row in some) / abs(sum(row["without"][place] for row in some))
                for place in range(updates)
            ]
            agree += fmean(row["foreseen"] for row in some) * fmean(row["measured"] for row in some) > 0
            right = fmean(row["right"] for row in some)
            rows.append([f"{right:.0%}", str(updates), *numbers, ", ".join(f"{share:+.2f}" for share in shares)])
    header = ["right answers", "updates a batch", "foreseen", "measured", "foreseen at the first, second, ... update"]
    seeds = len({row["seed"] for row in record["rows"]})
    return ADVANTAGE.format(table=table(header, rows), seeds=seeds, agree=agree, settings=len(rows))


def correlation(record: dict[str, Any], names: list[str]) -> float:
    """Of the methods' mean entropy and mean reward at the end."""
    x = [fmean(one["measured"] for one in of(record, name)) for name in names]
    y = [fmean(one["reward"] for one in of(record, name)) for name in names]
    dx, dy = [v - fmean(x) for v in x], [v - fmean(y) for v in y]
    return sum(a * b for a, b in zip(dx, dy, strict=True)) / (sum(a * a for a in dx) * sum(b * b for b in dy)) ** 0.5


def unseen(names: list[str]) -> str:
    """Terms of other statistics, and what acts when sampling."""
    methods = {name: ready(name, 1.0) for name in names}
    terms = [n for n, m in methods.items() if any(isinstance(t, Statistic) for k in m.links for t in k.record.terms)]
    sampling = [n for n, m in methods.items() if m.stages == {"sampling"}]
    listed = [", ".join(f"`{name}`" for name in some) for some in (terms, sampling)]
    return f"terms made of another statistic than entropy and ratio ({listed[0]}), and temperatures ({listed[1]})"


def tiny(study: dict[str, Any], exact: dict[str, Any]) -> dict[str, Any]:
    """The tiny policy's table beside the exact policies' figures, and what the page says of it."""
    ends = {(row["method"], row["seed"]): row for row in study["runs"]}
    seeds = [int(seed) for seed in study["foreseen"]]
    moved = {seed: ends["observe", seed]["entropy"] - study["starts"][str(seed)]["entropy"] for seed in seeds}
    rows, agree, seen = [], 0, 0
    for name in exact["seeds"][0]["methods"]:
        here = [seed for seed in seeds if (name, seed) in ends]
        foreseen = [study["foreseen"][str(seed)][name]["foreseen"] for seed in here]
        plain = [ends["observe", seed] for seed in here]
        own = [ends[name, seed] for seed in here]
        measured = [(a["entropy"] - b["entropy"]) / abs(moved[s]) for a, b, s in zip(own, plain, here, strict=True)]
        rewards = [a["reward"] - b["reward"] for a, b in zip(own, plain, strict=True)]
        same = ""
        if card(name).effect != "holds":
            pairs = zip(foreseen, measured, strict=True)
            clear = [a * b > 0 for a, b in pairs if min(abs(a), abs(b)) > TINY_CLEAR]
            agree, seen = agree + sum(clear), seen + len(clear)
            same = f"{sum(clear)} of {len(clear)}" if clear else ""
        exactly = [f"{fmean(one[key] for one in of(exact, name)):.2f}" for key in ("foreseen", "measured")]
        numbers = [cell(over_seeds(each), digits=2) for each in (foreseen, measured, rewards)]
        rows.append([f"`{name}`", *exactly, *numbers[:2], same, numbers[2], str(len(here))])
    header = ["method", "exact: foreseen", "measured", "tiny: foreseen", "measured", "same sign", "reward", "seeds"]
    shares = [moved[seed] / study["starts"][str(seed)]["entropy"] for seed in seeds]
    return {
        "tiny": table(header, rows),
        "tiny_agree": agree,
        "tiny_seen": seen,
        "tiny_steps": study["steps"],
        "tiny_moved": ", ".join(f"{share:.0%}" for share in shares),
        "tiny_clear": TINY_CLEAR,
    }


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    names = list(record["seeds"][0]["methods"])
    holding = [name for name in names if card(name).effect == "holds"]
    others = [name for name in names if name not in holding]
    rows, agree, seen = free(record, others)
    plains = [seed["plain"] for seed in record["seeds"]]
    stale = {
        key: fmean(one[key] for name in STALE for one in of(record, name)) for key in ("foreseen", "measured", "reward")
    }
    return PAGE.format(
        seeds=len(record["seeds"]),
        steps=record["steps"],
        plain=fmean(seed["plain"]["end"] / seed["plain"]["start"] for seed in record["seeds"]),
        clear=CLEAR,
        machine="Machine: " + machine(record["environment"]),
        free=rows,
        agree=agree,
        seen=seen,
        curvature=median(abs(one["first"] - one["measured"]) for name in names for one in of(record, name)),
        second=fmean(1 - plain["first"] / (plain["end"] - plain["start"]) for plain in plains),
        **{f"stale_{key}": value for key, value in stale.items()},
        stale_names=", ".join(f"`{name}`" for name in STALE),
        correlation=correlation(record, names),
        unseen=unseen(names),
        held=held(record, holding),
        idle=idle(record, holding),
        advantage=advantage(json.loads((HERE / "advantage.json").read_text())),
        **tiny(json.loads((HERE / "tiny.json").read_text()), record),
    )


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))


if __name__ == "__main__":
    main()
