"""The results as README.md, long.png, levels.png and the tables of docs/study.md: `python benchmarks/quality/long/report.py`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import machine, table, write_between
from figures import SHOWN, draw, draw_levels
from scores import PLAIN, above_plain, mean_and_half_width, paired, points_above_plain, score, with_half_width

HERE = Path(__file__).parent
STUDY = HERE.parents[2] / "docs" / "study.md"
TASKS = ("three numbers", "four numbers")
COMPARED = (
    *("hold-100%", "hold-75%", "hold-50%", "hold-30%", "hold-15%", "floor-75%", "band-75-100%"),
    *("anneal-linear", "hold-then-decay"),
    *("clip_v-1", "clip_b-1", "clip_b-0.5", "bonus-0.1", "bonus-0.4", "flow-50%"),
    *("clip_v-8.5", "clip_b-2.5", "entropic-50%", "aec-50%", "w_reinforce", "nsr"),
)
A_REWARD = {
    1: "three numbers",
    16: "three numbers, 16 problems a reward",
    64: "three numbers, 64 problems a reward",
}
LANGUAGE_MODELS = {"tiny": "tiny", "tiny-4": "tiny, 4 updates", "wide": "wide", "smollm2": "SmolLM2"}
SETTLED = 200
FROM_TARGET = ("mean", "worst window", "windows within 2 %")
LM_WINDOW = 100
TRIES = {"tiny": 16, "tiny-4": 16, "wide": 16, "smollm2": 8}
TINY = """From `tiny.json`, which `run.py` makes: the tiny policy, a million parameters, with the defaults of `entrostat train`.
Scores on 400 held-out problems; one standard error is 0.025 for greedy. Entropy in nats per token, and groups whose rewards
all agree, over the 100 steps before."""
TINY_4 = """From `tiny-4.json`: the same, but that each batch of 256 completions is used for four optimizer steps, so that 1,000
steps see a quarter of the problems. From the second step on a batch is off-policy, and there is something to clip."""
WIDE = """From `wide.json`: a policy of the same shape that adds, subtracts and multiplies numbers up to 20, from the start that
`wide.py` makes. Thirteen thousand training problems, of which hardly any comes twice; numbers up to 9 have 1,715, each of which
comes nine times in 1,000 steps. Scores on 400 held-out problems; one standard error is 0.025 for greedy."""
SMOLLM2 = """From `smollm2.json`: SmolLM2-135M-Instruct on sums of two-digit numbers, 8 problems x 4 completions a step, learning
rate 1e-6, bf16. Scores on 100 held-out problems; one standard error is 0.05 for greedy."""
ALL_HELD_OUT = """From `judged.json`, which `judge.py` makes: the policies that runs kept, on every held-out problem. One standard
error of greedy is 0.009. Above plain: greedy minus that of plain GRPO of the same seed and step, in points, with the 95 %
interval over problems, which says nothing of other seeds."""
HELD = f"""Entropy against target, means over {LM_WINDOW} steps from step {LM_WINDOW} on. noise: the standard error of one
batch's mean, at first and in the end, in proportion to the target. errors: rms of the windows' distances to the target, in units
of the standard error that this noise leaves in the mean of a window; 1 where nothing but noise is left. smoothed: rms of the
error over nine steps, in units of what that noise leaves in such a mean; median of the windows, and the largest."""
SCORES = {"greedy": "greedy", "1": "avg", "16": "pass@16", "64": "pass@64"}
INTRODUCTION = """# Long runs

Written by `report.py` from `results.json`, which `players.py` makes. A player is a policy of 29,000 parameters that plays
countdown move by move. It shares parameters between problems, learns by AdamW from 16 problems x 16 games a step with group
advantages, and is judged on problems that it has not seen; every method is as it is in a language model's run. A move takes the
place of a token. Scores are exact: the chance that a sampled game reaches the target is worked out over the whole tree of games.
Targets are shares of the entropy at the start.

* entropy: nats per move, mean over the last {window} steps. agree: groups whose rewards all agree there.
* greedy, avg, pass@k: of held-out problems, avg and pass@k at temperature 1. always, never: problems solved in all and in none
  of 16 games.
* against plain: greedy minus that of plain GRPO from the same seed, with the 95 % interval of Student's t over seeds where there
  are two or more. Each seed has a start and problems of its own, which all its arms share; with 64 problems a reward the three
  seeds are of one start.

{machine}
"""


def of_setting(rows: list[dict[str, Any]]) -> str:
    """The table of one setting, best greedy score first."""
    lines = []
    for arm, own in sorted(_by_arm(rows).items(), key=lambda item: -fmean(score(row, "greedy") for row in item[1])):
        above = above_plain(rows, arm, "greedy")
        lines.append(
            [
                arm,
                str(len(own)),
                *(f"{fmean(row['windows'][name][-1] for row in own):.2f}" for name in ("entropy", "without_spread")),
                *(f"{fmean(score(row, name) for row in own):.3f}" for name in (*SCORES, "always", "never")),
                "" if arm == PLAIN or not above else mean_and_half_width(above),
            ]
        )
    scores = [f"{fmean(score(row, name, 0) for row in rows):.3f}" for name in (*SCORES, "always", "never")]
    lines.append(["the start", "", "", "", *scores, ""])
    header = ("arm", "seeds", "entropy", "agree", *SCORES.values(), "always", "never", "against plain")
    return table(header, lines)


def gains(rows: list[dict[str, Any]], tasks: Sequence[str], arms: Sequence[str]) -> str:
    """What each arm scores above plain GRPO from the same start, in points, the tasks side by side."""
    of_task = [[row for row in rows if row["setting"] == task] for task in tasks]
    names = {name: SCORES[name] for name in ("greedy", "16", "1")}
    lines = [[arm, *(points_above_plain(own, arm, name) for own in of_task for name in names)] for arm in arms]
    return table(("arm", *(f"{task.split()[0]}: {name}" for task in tasks for name in names.values())), lines)


def over_time(rows: list[dict[str, Any]]) -> str:
    """Greedy and pass@16 at each judged step, for the arms that have most seeds."""
    arms = [arm for arm in dict.fromkeys(row["arm"] for row in rows) if arm == PLAIN or arm.startswith("hold")]
    steps = sorted(map(int, rows[0]["judged"]))
    lines = []
    for arm in arms:
        own = [row for row in rows if row["arm"] == arm]
        for name in ("greedy", "16"):
            means = [fmean(score(row, name, step) for row in own) for step in steps]
            lines.append([arm, SCORES[name], *(f"{value:.3f}" for value in means)])
    return table(("arm", "score", *(f"step {step}" for step in steps)), lines)


def held(rows: list[dict[str, Any]], window: int) -> str:
    """How far each window's mean entropy is from its target, for the arms that have one, from step 200 on."""
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows if any(row["windows"].get("target", [0]))):
        off = [
            entropy / target - 1
            for row in rows
            if row["arm"] == arm
            for entropy, target in list(zip(row["windows"]["entropy"], row["windows"]["target"], strict=True))[
                SETTLED // window :
            ]
        ]
        lines.append([arm, *from_target(off)])
    return table(("arm", *FROM_TARGET), lines)


def from_target(off: list[float]) -> list[str]:
    """The cells under `FROM_TARGET`, from each window's distance to its target, in proportion to it."""
    within = fmean(abs(each) <= 0.02 for each in off)
    return [f"{fmean(off):+.1%}", f"{max(map(abs, off)):.1%}", f"{within:.0%}"]


@cache
def runs_of(policy: str) -> list[dict[str, Any]]:
    """The runs of a language model, which several tables show."""
    runs: list[dict[str, Any]] = json.loads((HERE / f"{policy}.json").read_text())["runs"]
    return runs


def scores_of(tries: int) -> dict[str, str]:
    """The scores of a language model's policy, and what the tables call them."""
    same = {name: name for name in ("greedy", f"pass@{tries}", "always", "never")}
    return {"greedy": "greedy", f"avg@{tries}": "avg"} | same


def of_policy(policy: str) -> tuple[str, str]:
    """Tables of a language model's runs: each at its judged steps, with the window before; how near to its target."""
    lines, held_to, tries = [], [], TRIES[policy]
    scores = scores_of(tries)
    for row in runs_of(policy):
        name, windows = f"{row['arm']}, seed {row['seed']}", row["windows"]
        for step, judged in row["judged"].items():
            at = int(step) // LM_WINDOW - 1
            of_window = [f"{windows[key][at]:.3f}" for key in ("entropy", "without_spread")] if at >= 0 else ["", ""]
            lines.append([name, step, *of_window, *(f"{judged[key]:.3f}" for key in scores)])
        if any(windows.get("target", [0])):
            off, noise, smoothed = off_target(row), windows["noise"][1:], windows["smoothed"][1:]
            errors = [each / own * LM_WINDOW**0.5 for each, own in zip(off, noise, strict=True)]
            spread, rms = f"{noise[0]:.0%} to {noise[-1]:.0%}", fmean(each**2 for each in errors) ** 0.5
            last = (f"{value:.1f}" for value in (rms, median(smoothed), max(smoothed)))
            held_to.append([name, str(row["steps"]), *from_target(off), spread, *last])
    judged = table(("run", "step", "entropy", "agree", *scores.values()), lines)
    held = table(("run", "steps", *FROM_TARGET, "noise", "errors", "smoothed", "at most"), held_to)
    return judged, held


def off_target(row: dict[str, Any]) -> list[float]:
    """Each window's distance to its target, in proportion to it, but for the first window, in which the entropy goes there."""
    windows = row["windows"]
    return [entropy / target - 1 for entropy, target in zip(windows["entropy"], windows["target"], strict=True)][1:]


def held_over_seeds(policy: str) -> str:
    """How near each arm came to its target: the seed that is furthest off on average, and the worst window of any."""
    lines = []
    for arm, own in _by_arm(row for row in runs_of(policy) if any(row["windows"].get("target", [0]))).items():
        off = [off_target(row) for row in own]
        mean = max((fmean(each) for each in off), key=abs)
        smoothed = median(each for row in own for each in row["windows"]["smoothed"][1:])
        _, worst, within = from_target([each for run in off for each in run])
        steps = f"{min(row['steps'] for row in own):,}"
        lines.append([arm, str(len(own)), steps, f"{mean:+.1%}", worst, within, f"{smoothed:.1f}"])
    return table(("arm", "seeds", "steps", *FROM_TARGET, "smoothed"), lines)


def language_models(policies: dict[str, str]) -> str:
    """Each language model's arms where its runs can be compared: at the last step that all have, and at the last of any."""
    parts = []
    for policy, name in policies.items():
        rows, tries = runs_of(policy), TRIES[policy]
        ends = sorted({row["steps"] for row in rows})
        for step in dict.fromkeys((ends[0], ends[-1])):
            long = [row for row in rows if row["steps"] >= step]
            lines = [_compared(long, arm, own, step, tries) for arm, own in _by_arm(long).items()]
            header = ("arm", "seeds", "entropy", "greedy", "avg", f"pass@{tries}", "greedy above plain")
            parts += [f"**{name}, {step:,} steps**", table(header, lines)]
    return "\n\n".join(part.strip() for part in parts)


def _compared(rows: list[dict[str, Any]], arm: str, own: list[dict[str, Any]], step: int, tries: int) -> list[str]:
    judged = [row["judged"][str(step)] for row in own]
    entropy = fmean(row["windows"]["entropy"][step // LM_WINDOW - 1] for row in own)
    cells = [f"{fmean(each[key] for each in judged):.3f}" for key in ("greedy", f"avg@{tries}", f"pass@{tries}")]
    above = [100 * each for each in paired(rows, arm, lambda row: row["judged"][str(step)]["greedy"])]
    told = "" if arm == PLAIN or not above else f"{fmean(above):+.1f}"
    if told and len(above) > 2:  # of two, Student's t gives tens of points, which say nothing
        told = mean_and_half_width(above, 1)
    return [arm, str(len(own)), f"{entropy:.3f}", *cells, told]


def _by_arm(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["arm"], []).append(row)
    return found


def of_all_held_out() -> str:
    """What the kept policies solve of all held-out problems, of which a run judges itself on a few hundred."""
    rows = json.loads((HERE / "judged.json").read_text())["rows"]
    scores = scores_of(16)
    gains = [row.get("above plain", {}).get("greedy") for row in rows]
    lines = [
        [
            f"{LANGUAGE_MODELS[row['policy']]}, {row['arm']}, seed {row['seed']}",
            f"{row['step']:,}",
            *(f"{row['scores'][name]:.3f}" for name in scores),
            with_half_width(100 * gain["mean"], 100 * gain["half_width"], 1) if gain else "",
        ]
        for row, gain in zip(rows, gains, strict=True)
    ]
    return table(("run", "step", *scores.values(), "above plain"), lines)


def of_lengths(rows: list[dict[str, Any]]) -> str:
    """EntroPIC as released at half of the start's entropy, by the problems that share a reward: where it ends, and why."""
    lines = []
    for problems, setting in A_REWARD.items():
        own = [row["windows"] for row in rows if row["setting"] == setting and row["arm"] == "entropic-50%"]
        plain = [row["windows"]["entropy"][-1] for row in rows if row["setting"] == setting and row["arm"] == PLAIN]
        ratios, off, outputs = [], [], []
        for windows in own:
            entropy, target = windows["entropy"], windows["target"]
            passed = next(at for at, each in enumerate(entropy) if each < target[at])
            ratios.append(windows["authority"][passed] / abs(windows["drift"][passed]))
            third = len(entropy) // 3
            off.append(fmean(entropy[-third:]) / target[-1] - 1)
            outputs.append(windows["output"][-1])
        ends = f"{fmean(windows['entropy'][-1] for windows in own):.2f}"
        cells = [f"{fmean(ratios):.2f}", f"{fmean(plain):.2f}", ends, f"{fmean(off):+.0%}", f"{fmean(outputs):+.2f}"]
        lines.append([str(problems), str(len(own)), *cells])
    header = ("problems a reward", "seeds", "authority over drift", "plain ends at", "EntroPIC at", "error", "output")
    return table(header, lines)


def of_authority() -> str:
    """SmolLM2's drift, and what EntroPIC can do against it, by the length of an answer."""
    lines = [
        [
            *(f"{row[key]:.0f}" for key in ("length", "tokens")),
            f"{row['certain']:.1%}",
            f"{row['drift']:.4f} ± {row['drift_error']:.4f}",
            f"{row['authority']:.4f}",
            f"{row['ratio']:.1f}",
        ]
        for row in json.loads((HERE / "authority_smollm2.json").read_text())["rows"]
    ]
    return table(("at most", "tokens", "above 0.95", "drift", "authority", "over drift"), lines)


def page(record: dict[str, Any]) -> str:
    """The text of README.md."""
    parts = [INTRODUCTION.format(window=record["window"], machine="Machine: " + machine(record["environment"]))]
    for setting in dict.fromkeys(row["setting"] for row in record["runs"]):
        rows = [row for row in record["runs"] if row["setting"] == setting]
        length = f"{rows[0]['steps']:,} steps"
        parts += [f"## {setting.capitalize().removesuffix(f', {length}')}, {length}", of_setting(rows)]
        parts += ["Over the steps, means over seeds:", over_time(rows)]
        parts += [f"Entropy against target, means over {record['window']} steps from step {SETTLED} on:"]
        parts += [held(rows, record["window"])]
    policies = {
        "tiny": ("A language model", TINY),
        "tiny-4": ("A language model, four updates a batch", TINY_4),
        "wide": ("A language model with more problems", WIDE),
        "smollm2": ("SmolLM2-135M", SMOLLM2),
    }
    for policy, (heading, words) in policies.items():
        judged, held_to = of_policy(policy)
        parts += [f"## {heading}", words, judged, HELD, held_to]
    parts += ["## All held-out problems", ALL_HELD_OUT, of_all_held_out()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    write_between(STUDY, "tiny", held_over_seeds("tiny"))
    write_between(STUDY, "gains", gains(record["runs"], TASKS, COMPARED))
    write_between(STUDY, "EntroPIC on players", of_lengths(record["runs"]))
    write_between(STUDY, "authority of smollm2", of_authority())
    write_between(STUDY, "all held-out", of_all_held_out())
    write_between(STUDY, "language models", language_models(LANGUAGE_MODELS))
    three = [row for row in record["runs"] if row["setting"] == "three numbers" and row["arm"] in SHOWN]
    draw(three, record["window"], HERE / "long.png")
    draw_levels(record["runs"], HERE / "levels.png")
    for name in ("long.png", "levels.png"):
        shutil.copy(HERE / name, HERE.parents[2] / "docs" / "images")


if __name__ == "__main__":
    main()
