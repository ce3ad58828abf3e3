"""The plants behind runs of the tiny policy: `python benchmarks/simulate/plants.py` (seconds).

Identifies gain, drift, momentum and noise from the recorded entropy and output: of every controlled run of `benchmarks/control`,
and of those in `benchmarks/self_tuning` and `benchmarks/trajectories` whose output is not at a limit for long. The runs of flow
in the first study are then simulated on their own plants with their own gains, which says how much of their rms error the
linear plant explains.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median, stdev

from entrostat.control import PI
from entrostat.control.response import response
from entrostat.lab import Identified, closed_loop, identify

HERE = Path(__file__).parent
SELF_TUNED = [("hold self-tuned", share) for share in (0.5, 0.75, 1.0, 1.25)] + [("flow self-tuned", 0.75)]
SIMULATIONS = 20  # of each run, with different noise


def rms(run: dict, found: Identified) -> dict[str, float]:
    """The rms error over the second half: of the run, and of simulations on its plant."""
    given = dict(override.split("=", 1) for override in run["overrides"])
    target, kp, ki = (float(given[f"method.{name}"]) for name in ("target", "kp", "ki"))
    controller, steps = PI(target, kp, ki, (-2, 2)), len(run["entropy"])
    traces = [closed_loop(found.plant(), controller, steps, seed=seed) for seed in range(SIMULATIONS)]
    return {
        "rms_measured": response(run["entropy"], target).rms_error,
        "rms_simulated": fmean(response(trace.measured, target).rms_error for trace in traces),
    }


def runs_of(study: str) -> list[dict]:
    return json.loads((HERE.parent / study / "results.json").read_text())["runs"]


def plant(run: dict, raises: bool = False) -> Identified:
    """`raises`: a larger output raises the entropy."""
    lowering = [-output if raises else output for output in run["output"]]
    return identify(run["entropy"], [0.0, *lowering[:-1]])  # TRL: an output acts from the next step on


def row_of(found: Identified) -> dict:
    return {**asdict(found), "gain_known": found.gain_known}


def main() -> None:
    rows = {}
    for run in runs_of("control"):
        if any(run["output"]):
            found = plant(run)
            rows[run["name"]] = row_of(found)
            if found.gain_known and "method.name=flow" in run["overrides"]:
                rows[run["name"]] |= rms(run, found)
    for run in runs_of("self_tuning"):
        if run["model"] == "tiny" and (run["method"], run["share"]) in SELF_TUNED:
            found = plant(run, raises=run["method"].startswith("hold"))
            name = f"self_tuning/{run['method'].split()[0]}-{run['share']}-seed{run['seed']}"
            rows[name] = row_of(found)
    for run in runs_of("trajectories"):
        found = plant({**run, "entropy": run["measured"]}, raises=run["method"] == "hold")
        name = f"trajectories/{run['method']}, {run['trajectory']}-seed{run['seed']}"
        rows[name] = row_of(found)
    cases: dict[str, list[dict]] = {}
    for name, row in rows.items():
        cases.setdefault(name.rpartition("-seed")[0], []).append(row)
    means = {}
    for case, each in cases.items():
        columns = {key: [row[key] for row in each] for key in ("gain", "drift", "momentum", "noise", "wander")}
        means[case] = {key: [fmean(v), stdev(v)] for key, v in columns.items() if len(v) > 1}
        words = "  ".join(f"{key} {mean:.4f} +- {spread:.4f}" for key, (mean, spread) in means[case].items())
        print(f"{case:45} {words}  gain known in {sum(row['gain_known'] for row in each)} of {len(each)}")
    ratios = sorted(row["rms_simulated"] / row["rms_measured"] for row in rows.values() if "rms_simulated" in row)
    print(
        f"rms simulated / measured: {ratios[0]:.2f} to {ratios[-1]:.2f}, median {median(ratios):.2f}, {len(ratios)} runs"
    )
    (HERE / "plants.json").write_text(
        json.dumps({"mean_and_deviation_over_seeds": means, "runs": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
