"""The plants behind the runs of `benchmarks/control`: `python benchmarks/simulate/plants.py` (seconds).

Identifies gain, drift, momentum and noise of every controlled run from its recorded entropy and output. The runs of flow are
then simulated on their own plants with their own gains, which says how much of their rms error the linear plant explains.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median, stdev

from entrostat.control import PI
from entrostat.theory import Identified, closed_loop, identify, response

HERE = Path(__file__).parent


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


def main() -> None:
    runs = json.loads((HERE.parent / "control" / "results.json").read_text())["runs"]
    rows = {}
    for run in runs:
        if any(run["output"]):
            acting = [0.0, *run["output"][:-1]]  # TRL: an output acts from the next step on
            found = identify(run["entropy"], acting)
            rows[run["name"]] = {**asdict(found), "gain_known": found.gain_known}
            if found.gain_known and "method.name=flow" in run["overrides"]:
                rows[run["name"]] |= rms(run, found)
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
