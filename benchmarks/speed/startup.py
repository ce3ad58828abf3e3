"""How long `import entrostat` and `entrostat --help` take, each in a fresh process: `python benchmarks/speed/startup.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import entrostat": [sys.executable, "-c", "import entrostat"],
    "entrostat --help": [sys.executable, "-m", "entrostat.cli.main", "--help"],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def torch_modules(command: list[str]) -> bool:
    """Whether the command imports torch, as Python's own import log tells."""
    done = subprocess.run([command[0], "-X", "importtime", *command[1:]], check=True, capture_output=True, text=True)
    return any(line.rsplit("|", 1)[-1].strip() == "torch" for line in done.stderr.splitlines())


def main(repeats: int = 15) -> None:
    from entrostat.run.environment import environment

    rows: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):  # in turn, so that all see the same machine
        for name, command in COMMANDS.items():
            rows[name].append(seconds(command))
    record = {
        "environment": environment(),
        "repeats": repeats,
        "rows": {
            name: {"median_seconds": round(median(values), 4), "imports_torch": torch_modules(COMMANDS[name])}
            for name, values in rows.items()
        },
    }
    (HERE / "startup.json").write_text(json.dumps(record, indent=1))
    print(json.dumps(record["rows"], indent=1))


if __name__ == "__main__":
    main()
