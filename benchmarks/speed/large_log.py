"""A log of a gigabyte, read and judged: time, and the most memory that it took: `python benchmarks/speed/large_log.py`.

The rows are those of a run, 75 numbers each, beside 2 KB of text as rollout dumps have it. The figures go into
large_log.json and, as one sentence, into docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import write_between

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "diagnose.md"
RESULT = HERE / "large_log.json"
READ = """
import json, resource, sys, time
from entrostat.diagnosis import diagnose
from entrostat.logs import read
rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began = rss(), time.process_time()
(run,) = read(sys.argv[1])
read_in = time.process_time() - began
findings = diagnose(run)
print(json.dumps({"rows": len(run), "read_cpu_seconds": read_in, "diagnose_cpu_seconds": time.process_time() - began - read_in,
    "peak_mib": rss(), "before_mib": before, "torch": "torch" in sys.modules, "findings": [f.code for f in findings]}))
"""


def write_log(path: Path, size: float) -> None:
    """JSON lines of that many bytes: a run whose entropy wanders about 0.3 nats."""
    draw = random.Random(0)
    others = {f"timing/part_{i}": draw.random() for i in range(70)}
    text = "".join(draw.choice("abcdefghij <>\\n") for _ in range(2000))
    written, step = 0, 0
    with path.open("w") as file:
        while written < size:
            step += 1
            row = {
                "step": step,
                "entropy": 0.3 + draw.gauss(0, 0.01),
                "reward": 0.5 + draw.gauss(0, 0.02),
                "completions/mean_length": 300 + draw.gauss(0, 5),
                "grad_norm": 0.3 + draw.gauss(0, 0.03),
                **others,
                "sample": text,
            }
            written += file.write(json.dumps(row) + "\n")


def measure(size: float) -> dict[str, Any]:
    """What reading and judging a log of that many bytes takes, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        write_log(path, size)
        done = subprocess.run([sys.executable, "-c", READ, str(path)], check=True, capture_output=True, text=True)
        return {"bytes": path.stat().st_size} | json.loads(done.stdout)


def sentence(record: dict[str, Any]) -> str:
    """The figures in words."""
    rows, seconds = record["rows"], record["read_cpu_seconds"]
    return (
        f"A log of {record['bytes'] / 1e9:.2f} GB ({rows:,} rows: 75 numbers and 2 KB of text) took {seconds:.0f} s of one core "
        f"to read, {rows / seconds:,.0f} rows a second, and {record['peak_mib'] - record['before_mib']:.0f} MiB beyond the "
        f"interpreter's own; the rules took {record['diagnose_cpu_seconds']:.1f} s."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gigabytes", type=float, default=1.0)
    asked = arguments.parse_args()
    from entrostat.run.environment import environment

    began = time.perf_counter()
    record = measure(asked.gigabytes * 1e9) | {"environment": environment()}
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "benchmarks/speed/large_log.py", sentence(record))
    print(sentence(record), f"({time.perf_counter() - began:.0f} s in all)")


if __name__ == "__main__":
    main()
