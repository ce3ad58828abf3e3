"""The plants behind the runs of `benchmarks/control`: `python benchmarks/simulate/plants.py` (seconds).

Identifies gain, drift, momentum and noise of every controlled run from its recorded entropy and output.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from entrostat.theory import identify

HERE = Path(__file__).parent


def main() -> None:
    runs = json.loads((HERE.parent / "control" / "results.json").read_text())["runs"]
    rows = {}
    for run in runs:
        if any(run["output"]):
            acting = [0.0, *run["output"][:-1]]  # TRL: an output acts from the next step on
            found = identify(run["entropy"], acting)
            rows[run["name"]] = {**asdict(found), "gain_known": found.gain_known}
    cases: dict[str, list[dict]] = {}
    for name, row in rows.items():
        cases.setdefault(name.rpartition("-seed")[0], []).append(row)
    means = {}
    for case, each in cases.items():
        columns = {key: [row[key] for row in each] for key in ("gain", "drift", "momentum", "noise", "wander")}
        means[case] = {key: [fmean(v), stdev(v)] for key, v in columns.items() if len(v) > 1}
        words = "  ".join(f"{key} {mean:.4f} +- {spread:.4f}" for key, (mean, spread) in means[case].items())
        print(f"{case:45} {words}  gain known in {sum(row['gain_known'] for row in each)} of {len(each)}")
    (HERE / "plants.json").write_text(
        json.dumps({"mean_and_deviation_over_seeds": means, "runs": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
