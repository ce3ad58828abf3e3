"""How often `entrostat diagnose` is right, on runs whose fault is known.

Writes `results.json`, from which `report.py` makes the page.

    python benchmarks/quality/diagnose/run.py [--public FOLDER] [--peers PYTHON]

* synthetic runs (`synthetic.py`): seeds 0 to 5 of each kind, on which thresholds were set; 2000 to 2005 were kept aside;
* public logs, where their folder is given: `labels.json` holds the codes of each (none: healthy; null: in doubt, left out),
  by what its owner or its reward says. A finding of any of the codes counts. The data itself is not part of the project;
* beside it the tools of `peers.py`, where the interpreter of their environment is given.

An alarm is a finding of severity warning or above.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import cases

from entrostat.diagnosis import diagnose
from entrostat.logs import Run, read

HERE = Path(__file__).parent
TUNED, ASIDE = range(6), range(2000, 2006)
KEYS = {
    "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "no_spread": "frac_reward_zero_std",
    "clip_fraction": "clip_ratio/region_mean",
}


def judged(run: Run, label: set[str], also: set[str], kind: str, group: str) -> dict[str, Any]:
    """One run: what was to be found and what was."""
    found = diagnose(run)
    alarms = sorted({finding.code for finding in found if finding.severity != "remark"})
    return {
        "kind": kind,
        "group": group,
        "label": sorted(label),
        "found": sorted({finding.code for finding in found}),
        "alarms": alarms,
        "false": [code for code in alarms if code not in label | also],
    }


def rows_of(run: Run) -> list[dict[str, Any]]:
    """A run under TRL's keys, for the others."""
    rows: list[dict[str, Any]] = [{"step": int(step)} for step in run.steps]
    for name, column in run.columns.items():
        for row, value in zip(rows, column.values.tolist(), strict=True):
            if np.isfinite(value):
                row[KEYS.get(name, name)] = value
    return rows


def synthetic_runs() -> list[tuple[Run, dict[str, Any]]]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        for group, seeds in (("tuned", TUNED), ("aside", ASIDE)):
            for case in cases(seeds):
                path.write_text("".join(json.dumps(row) + "\n" for row in case.rows))
                (run,) = read(path)
                label = {case.label} if case.label else set()
                found.append((run, judged(run, label, set(case.also), case.kind, group)))
    return found


def public_runs(folder: Path) -> list[tuple[Run, dict[str, Any]]]:
    found = []
    for name, label in json.loads((HERE / "labels.json").read_text()).items():
        if label is None:
            continue
        file, _, part = name.partition("#")
        runs = read(folder / file)
        run = next(each for each in runs if not part or each.name == part)
        found.append((run, judged(run, set(label), set(), name, "public")))
    return found


def asked(python: Path, runs: list[Run]) -> list[dict[str, int | None]]:
    """What the other tools count, run by run."""
    lines = "".join(json.dumps(rows_of(run)) + "\n" for run in runs)
    done = subprocess.run([python, HERE / "peers.py"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Alarms per healthy run, and over the faulty ones recall of the label and precision of the alarms."""
    healthy = [row for row in rows if not row["label"]]
    faulty = [row for row in rows if row["label"]]
    alarms = sum(len(row["alarms"]) for row in rows)
    false = sum(len(row["false"]) for row in rows)
    return {
        "runs": len(rows),
        "healthy": len(healthy),
        "false_alarms_per_healthy_run": sum(len(row["false"]) for row in healthy) / len(healthy),
        "healthy_runs_with_an_alarm": sum(bool(row["false"]) for row in healthy),
        "recall": sum(bool(set(row["label"]) & set(row["found"])) for row in faulty) / len(faulty),
        "precision": 1 - false / alarms,
        "missed": [row["kind"] for row in faulty if not set(row["label"]) & set(row["found"])],
        "false_alarms": [f"{row['kind']}: {code}" for row in rows for code in row["false"]],
    }


def beside(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The tools on the same runs: alarms per healthy run, and the share of runs with a fault of the policy that raise any."""
    found: dict[str, Any] = {}
    faults = [row for row in rows if any(code[1] in "13" and code != "E104" for code in row["label"])]
    healthy = [row for row in rows if not row["label"]]
    for tool in ("entrostat", *rows[0]["peers"]):
        counts = [len(row["alarms"]) if tool == "entrostat" else row["peers"][tool] for row in healthy]
        raised = [len(row["alarms"]) if tool == "entrostat" else row["peers"][tool] for row in faults]
        counts, raised = ([count for count in each if count is not None] for each in (counts, raised))
        found[tool] = {
            "healthy": len(counts),
            "alarms_per_healthy_run": sum(counts) / max(len(counts), 1),
            "healthy_runs_with_an_alarm": sum(map(bool, counts)),
            "faulty": len(raised),
            "faulty_runs_with_an_alarm": sum(map(bool, raised)),
        }
    return found


def speed() -> dict[str, float]:
    """Seconds of processor time for `entrostat diagnose` on 5,000 rows of 40 keys, the whole command; rows read per second."""
    import resource
    import sys

    row = {f"timing/{i}": 0.123456789 for i in range(34)} | {"reward": 0.3, "grad_norm": 0.1, "kl": 0.01, "loss": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text(
            "".join(json.dumps({"step": s, "entropy": 0.4 + 1e-3 * (s % 7), **row}) + "\n" for s in range(5000))
        )
        best, command = 1e9, [sys.executable, "-m", "entrostat.cli.main", "diagnose", str(path)]
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        began = time.process_time()
        read(path)
        return {"command_5000_rows_seconds": best, "rows_per_second": 5000 / (time.process_time() - began)}


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--public", type=Path)
    words.add_argument("--peers", type=Path)
    given = words.parse_args()
    judgments = synthetic_runs() + (public_runs(given.public) if given.public else [])
    rows = [row for _, row in judgments]
    record: dict[str, Any] = {"groups": {}, "speed": speed()}
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["group"]].append(row)
    record["groups"] = {group: summary(mine) for group, mine in groups.items()}
    if given.peers:
        for row, counts in zip(rows, asked(given.peers, [run for run, _ in judgments]), strict=True):
            row["peers"] = counts
        record["beside"] = {group: beside(mine) for group, mine in groups.items() if group != "tuned"}
    by_label: dict[str, list[bool]] = defaultdict(list)
    for row in groups["aside"]:
        if row["label"]:
            by_label[row["label"][0]].append(row["label"][0] in row["found"])
    record["recall_by_code"] = {code: sum(hits) / len(hits) for code, hits in sorted(by_label.items())}
    record["runs"] = rows
    (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: record[key] for key in record if key != "runs"}, indent=1))


if __name__ == "__main__":
    main()
