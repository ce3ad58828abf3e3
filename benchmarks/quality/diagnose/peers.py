"""What two other diagnosis tools say of a run, in an environment of their own: reads rows from stdin, writes counts to stdout.

    python -m venv peers && peers/bin/pip install rldoctor==0.2.0 rlprobe==0.1.0

Each line of the input is a list of rows under TRL's keys. Each line of the output says how many alarms, of severity warning and
above, each tool raised.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

FIELDS = {
    "entropy": "entropy_mean",
    "reward": "reward_mean",
    "reward_std": "reward_std",
    "kl": "kl_mean",
    "completions/mean_length": "completion_len_mean",
    "completions/clipped_ratio": "truncation_rate",
    "frac_reward_zero_std": "zero_variance_group_frac",
    "grad_norm": "grad_norm",
    "clip_ratio/region_mean": "clip_fraction",
    "learning_rate": "lr",
    "loss": "loss",
}


def rldoctor(rows: list[dict[str, Any]]) -> int:
    from rl_doctor import Severity, diagnose, run_from_records

    found = diagnose(run_from_records(rows)).findings
    return sum(each.severity >= Severity.WARNING for each in found)


def rlprobe(rows: list[dict[str, Any]]) -> int:
    from rlprobe.doctor.engine import diagnose_view
    from rlprobe.doctor.runview import RunView
    from rlprobe.schemas import RunManifest, StepRecord

    records = [
        StepRecord(step=row["step"], **{FIELDS[key]: value for key, value in row.items() if key in FIELDS})
        for row in rows
    ]
    found = diagnose_view(RunView(RunManifest(run_id="a", created_at="2026-01-01", algorithm="grpo"), records))
    return sum(each.severity in ("warn", "critical") for each in found)


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        rows = json.loads(line)
        counts: dict[str, int | None] = {}
        for tool in (rldoctor, rlprobe):
            try:
                counts[tool.__name__] = tool(rows)
            except Exception as error:  # another's tool: whatever it is, the run is not judged
                print(f"{tool.__name__}: {error!r}", file=sys.stderr)
                counts[tool.__name__] = None
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
