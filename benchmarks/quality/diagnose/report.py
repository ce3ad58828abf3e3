"""`results.json` as a page: `python benchmarks/quality/diagnose/report.py` writes README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import table

HERE = Path(__file__).parent
GROUPS = {
    "aside": "synthetic, kept aside",
    "tuned": "synthetic, thresholds set on them",
    "public": "public logs",
}

INTRODUCTION = """# How often `entrostat diagnose` is right

Runs whose fault is known. The synthetic ones (`synthetic.py`) are drawn from seeds, ten kinds that are healthy and twenty
with a fault, one for each code; thresholds were set on one half and the other was kept aside. The public logs are other
people's; only their labels are here (`labels.json`): what the owner or the reward says of each. A run in doubt is left out.
An alarm is a finding of severity warning or above; it is false where the label does not hold its code.

The synthetic runs and the rules have one author, so their figures are an upper bound. The public logs are few, and were
looked at while the rules were written. Judge the rules by your own runs, and send us the one that they got wrong."""


def page(record: dict[str, Any]) -> str:
    """The text of README.md."""
    rows = []
    for group, name in GROUPS.items():
        if each := record["groups"].get(group):
            rows.append(
                [
                    name,
                    str(each["runs"]),
                    _of_healthy(each, "false_alarms_per_healthy_run"),
                    f"{each['recall']:.1%}",
                    f"{each['precision']:.1%}",
                ]
            )
    parts = [
        INTRODUCTION,
        table(["runs", "count", "false alarms per healthy run", "fault found", "alarms that are right"], rows),
    ]
    for group, name in GROUPS.items():
        each = record["groups"].get(group, {})
        wrong = [f"missed {kind}" for kind in each.get("missed", [])] + [
            f"false {alarm}" for alarm in each.get("false_alarms", [])
        ]
        if wrong:
            parts.append(f"Wrong among those of {name}: {'; '.join(wrong)}.")
    low = {code: share for code, share in record["recall_by_code"].items() if share < 1}
    said = ", ".join(f"{code} {share:.0%}" for code, share in low.items()) or "none"
    parts.append(f"Codes found in less than all of their runs that were kept aside: {said}.")
    if "beside" in record:
        parts.append(_beside(record["beside"]))
    seconds, rate = record["speed"]["command_5000_rows_seconds"], record["speed"]["rows_per_second"]
    parts.append(
        f"""## Speed

`entrostat diagnose` on JSON lines of 5,000 rows and 40 keys: {seconds:.2f} s of processor time, the whole command. The reader
alone: {rate:,.0f} rows a second."""
    )
    return "\n\n".join(parts) + "\n"


def _of_healthy(each: dict[str, Any], key: str) -> str:
    return f"{each[key]:.2f} ({each['healthy_runs_with_an_alarm']} of {each['healthy']} runs)"


def _beside(beside: dict[str, Any]) -> str:
    rows = []
    for group, tools in beside.items():
        for tool, each in tools.items():
            rows.append(
                [
                    GROUPS[group],
                    tool,
                    _of_healthy(each, "alarms_per_healthy_run"),
                    f"{each['faulty_runs_with_an_alarm']} of {each['faulty']}",
                ]
            )
    head = ["runs", "tool", "alarms per healthy run", "runs with a fault of the policy that raise any alarm"]
    text = """## Beside other tools

rldoctor 0.2.0 and rlprobe 0.1.0 on the same rows, under TRL's keys, by `peers.py`, so that only the judgment is compared.
Any alarm counts as finding a fault of the policy (codes 1xx and 3xx); faults of a controller or of the measurement are not
theirs to find. They look for things that are not in these runs, too, and rlprobe for more where it records the run itself."""
    return f"{text}\n\n{table(head, rows)}"


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(json.loads((HERE / "results.json").read_text())))
