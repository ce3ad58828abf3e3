"""The charts of a report as plain data: what the page draws, and what its JSON twin holds. One function per chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from entrostat.logs import Run
from entrostat.report.series import Chart, chart_of, line, sampled
from entrostat.report.thinning import extremes, means, noise, trend
from entrostat.report.tokens import TokenSample

NATS = "nats per token"
QUADRANTS = {
    "positive_likely": "A > 0, D > 0: lowers",
    "positive_unlikely": "A > 0, D < 0: raises",
    "negative_likely": "A < 0, D > 0: raises",
    "negative_unlikely": "A < 0, D < 0: lowers",
}
_PARTS = {"proportional": "proportional", "integral_part": "integral", "feed_forward": "feed-forward"}
_COLORS = {"positive_likely": 1, "positive_unlikely": 0, "negative_likely": 2, "negative_unlikely": 4}  # warm: lowers
_LOGGED = "logged by the run from the spread within each batch"
_GUESSED = "judged by the differences of neighboring steps"
_WINDOW = 25
_POINTS = 1_500


def charts_of(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    """Every chart that the runs have values for."""
    makers: tuple[Callable[[Sequence[Run], Sequence[str]], list[Chart]], ...] = (
        entropy,
        controller,
        flow,
        prediction,
        solved,
        training,
    )
    return [chart for maker in makers for chart in maker(runs, labels) if chart["series"]]


def entropy(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    series: list[dict[str, Any]] = []
    targets: list[Any] = []
    told: set[str] = set()
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        values = run["entropy"]
        here = np.isfinite(values)
        if here.any():
            steps, clean = run.steps[here], values[here]
            middle = trend(clean, _WINDOW)
            sd, logged = _noise(run["standard_error"][here], clean)
            told.add(_LOGGED if logged else _GUESSED)
            if len(clean) > 5 and sd.any():
                x, low = extremes(steps, middle - 2 * sd, 400)
                high = np.interp(x, steps, middle + 2 * sd)
                series.append(line(index, f"{label}: noise of a batch", x, None, band=(low, high)))
            long = len(clean) > 300
            series.append(line(index, label, *extremes(run.steps, values), dots=len(clean) < 10, thin=long))
            if long:
                series.append(line(index, f"{label}: trend", *extremes(steps, middle, 600)))
        target = run["target"]
        seen = np.isfinite(target)
        if seen.any() and not any(np.array_equal(target, other, equal_nan=True) for other in targets):
            targets.append(target)
            name = _of(label, "target", runs)
            series.append(line(index, name, *extremes(run.steps, target), dash=True, color="target"))
    note = "Units and kinds of each column are under Configuration."
    if told:
        how = " or ".join(sorted(told, reverse=True))
        note = f"The band: the trend ± two standard errors of one batch's mean, {how}; what stays inside may be noise. {note}"
    title = "Policy entropy against its target" if targets else "Policy entropy"
    units = dict.fromkeys(run.columns["entropy"].unit for run in runs if "entropy" in run)
    return [chart_of("entropy", title, ", ".join(units) or NATS, series, note, zero=True)]


def _noise(errors: Any, clean: Any) -> tuple[Any, bool]:
    """Standard deviation of each row's measurement, and whether the run logged it; else it is judged by the neighbors."""
    known = np.isfinite(errors) & (errors >= 0)
    if 2 * known.sum() < len(clean):
        return np.full(len(clean), noise(clean)), False
    places = np.arange(len(clean))
    return trend(np.interp(places, places[known], errors[known]), _WINDOW), True


def controller(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    series = []
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        output = run["output"]
        if not np.isfinite(output).any():
            continue
        series.append(line(index, label if len(runs) > 1 else "output", *extremes(run.steps, output)))
        for color, (key, name) in enumerate(_PARTS.items(), 1):
            values = run[f"entropy_control/{key}"]
            if np.isfinite(values).any():
                own: dict[str, Any] = {"color": color} if len(runs) == 1 else {}
                text = _of(label, name, runs)
                series.append(line(index, text, *extremes(run.steps, values), thin=True, hidden=len(runs) > 1, **own))
        saturated = run["saturated"]
        if (saturated > 0).any():
            at = saturated > 0
            x, y = sampled(run.steps[at], output[at], 300)
            series.append(line(index, _of(label, "at its limit", runs), x, y, dots="only", color="alarm"))
    note = "What the controller asks of the method, and its parts where it has any. Where it is at its limit it can do no more."
    inner = []
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for color, name in enumerate(("gain", "drift")):
            values = run[f"entropy_control/{name}"]
            if np.isfinite(values).any():
                tint: dict[str, Any] = {"color": color} if len(runs) == 1 else {}
                style = tint | {"hidden": len(runs) > 1 and name != "gain"}
                inner.append(line(index, _of(label, name, runs), *extremes(run.steps, values), **style))
    learned = (
        "Gain: nats per step and unit of effort, a quarter of what the output's limits span. "
        "Drift: nats per step without control."
    )
    return [
        chart_of("controller", "The controller's output and its parts", "output", series, note),
        chart_of("learned", "What the controller has learned", "estimate", inner, learned),
    ]


def flow(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    charts = []
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        columns = {name: run[f"token_entropy/flow_{name}"] for name in QUADRANTS}
        if not all(np.isfinite(values).any() for values in columns.values()):
            continue
        x, stacked = means(run.steps, columns)
        series = [line(index, text, x, stacked[name], color=_COLORS[name]) for name, text in QUADRANTS.items()]
        series.append(line(index, "total", x, sum(stacked.values()), color="target"))
        title = "Entropy flow by quadrant" + (f": {label}" if len(runs) > 1 else "")
        note = (
            "F = −r A D of each token, its first-order change of the entropy: mean per token and unit of step at the logits. "
            "A is the advantage, D > 0 a likely token: raising it lowers the entropy."
        )
        charts.append(chart_of(f"flow-{index}", title, NATS, series, note, kind="stack"))
    return charts


def prediction(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    """Predicted against measured change: of the same tokens where the run predicted, else first order against the next step."""
    over_time, points = [], []
    loose = False
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        predicted, measured = run["entropy_prediction/predicted"], run["entropy_prediction/measured_same_batch"]
        both = np.isfinite(predicted) & np.isfinite(measured)
        if both.any():
            x = run.steps[both]
            few: dict[str, Any] = {"dots": len(x) < 60}
            over_time.append(line(index, _of(label, "measured", runs), *extremes(x, measured[both]), **few))
            style = few | {"dash": True} | ({"color": 1} if len(runs) == 1 else {})
            over_time.append(line(index, _of(label, "predicted", runs), *extremes(x, predicted[both]), **style))
            points.append(line(index, label, *sampled(predicted[both], measured[both], _POINTS)))
        else:
            values, change = run["predicted"], np.append(np.diff(run["entropy"]), np.nan)
            pair = np.isfinite(values) & np.isfinite(change)
            if pair.sum() > 2:
                loose = True
                points.append(line(index, label, *sampled(values[pair], change[pair], _POINTS)))
    if loose:
        note = (
            "First order, per unit of step at the logits, against the change to the next step's batch. The cloud's slope is the "
            "step's size; its height is mostly the noise of two batches. Train with predict.every to see both on the same tokens."
        )
    else:
        note = (
            "The gradient of the entropy times the optimizer's step, against the change measured on the same tokens. On the "
            "line they agree."
        )
    return [
        chart_of("prediction", "Predicted and measured change of the entropy", f"{NATS} and step", over_time, note),
        chart_of(
            "predicted-measured",
            "Predicted against measured change",
            f"measured [{NATS}]",
            points,
            note,
            kind="points",
            x=f"predicted [{NATS}{', unit step at the logits' if loose else ''}]",
            diagonal=not loose,
        ),
    ]


def solved(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    rewards, judged = [], []
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        values = run["reward"]
        here = np.isfinite(values)
        if here.any():
            name = label if len(runs) > 1 else f"mean of {_WINDOW} steps" if here.sum() >= _WINDOW else "trend"
            rewards.append(line(index, _of(label, "each batch", runs), *extremes(run.steps, values), thin=True))
            rewards.append(line(index, name, *extremes(run.steps[here], trend(values[here], _WINDOW))))
        keys = [key for key in run.others if key.startswith("eval/") and _is_share(run[key]) and _judged(key)]
        keys.sort(key=lambda key: "avg@" in key)  # where an average is pass@1, that is its name
        keys = [key for i, key in enumerate(keys) if not any(_same(run[key], run[other]) for other in keys[:i])]
        for place, key in enumerate(keys):
            own: dict[str, Any] = {"color": place} if len(runs) == 1 else {}
            other = place > 0 and len(runs) > 1  # of several runs, what is not judged first stays in the background
            style = {"dots": True, "hidden": other, "dash": other} | own
            judged.append(line(index, _of(label, key[5:], runs), *extremes(run.steps, run[key]), **style))
    return [
        chart_of("reward", "Reward", "mean reward", rewards, "Of the training batches."),
        chart_of(
            "solved",
            "Solved: greedy, average and pass@k",
            "share of problems",
            judged,
            "Evaluations, on held-out problems unless the name says train.",
            zero=True,
        ),
    ]


def training(runs: Sequence[Run], labels: Sequence[str]) -> list[Chart]:
    asked = {
        "length": ("Completion length", "tokens", "Mean over the batch."),
        "grad_norm": ("Gradient norm", "norm", "Before clipping."),
        "no_spread": ("Groups without spread", "share of groups", "Their rewards all agree: they teach nothing."),
    }
    charts = []
    for key, (title, unit, note) in asked.items():
        series = [
            line(index, label, *extremes(run.steps, run[key]))
            for index, (run, label) in enumerate(zip(runs, labels, strict=True))
            if np.isfinite(run[key]).any()
        ]
        charts.append(chart_of(key, title, unit, series, note, zero=True))
    return charts


def plane(samples: Sequence[TokenSample], index: int, label: str, several: bool) -> Chart:
    """Sampled tokens by probability and entropy, with the line p = exp(-H) between D > 0 and D < 0 (for S exactly)."""
    logp = np.concatenate([sample.columns["logp"] for sample in samples])
    entropy = np.concatenate([sample.columns["entropy"] for sample in samples])
    signal = np.concatenate([-s.columns["ratio"] * s.columns["advantages"] * s.columns["centered"] for s in samples])
    series = []
    for name, chosen, color in (
        ("raises the entropy", signal > 0, "raises"),
        ("lowers it", signal < 0, "lowers"),
        ("does neither (A or D is 0)", signal == 0, "neutral"),
    ):
        if chosen.any():
            x, y = sampled(np.exp(logp[chosen]), entropy[chosen], _POINTS)
            series.append(line(index, name, x, y, color=color))
    highest = max(float(entropy.max()), 0.1)
    h = np.linspace(0, highest * 1.05, 80)
    series.append(line(index, "p = exp(−H)", np.exp(-h), h, color="target", line=True))
    title = "Probability and entropy of sampled tokens" + (f": {label}" if several else "")
    note = (
        f"Recorded tokens, {len(logp):,} in all. Right of the line p = exp(−H) a token is likelier than is typical there: with a "
        "positive advantage it lowers the entropy, with a negative one it raises it; left of it the other way round."
    )
    return chart_of(
        f"plane-{index}", title, "entropy H [nats]", series, note, kind="points", x="probability p", zero=True
    )


def _of(label: str, what: str, runs: Sequence[Run]) -> str:
    """What a series is called: what it is, and of which run where there are several."""
    return what if len(runs) == 1 else f"{label}: {what}"


def _judged(key: str) -> bool:
    name = key.removeprefix("eval/").removeprefix("train/")
    return name.startswith(("greedy", "avg@", "pass@", "accuracy", "score"))


def _same(a: Any, b: Any) -> bool:
    """Whether one line would hide the other, as pass@1 and the average over samples do."""
    return bool(np.allclose(a, b, rtol=1e-9, equal_nan=True))


def _is_share(values: Any) -> bool:
    here = values[np.isfinite(values)]
    return bool(len(here)) and bool((here >= 0).all() and (here <= 1).all())
