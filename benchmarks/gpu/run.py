"""Every part that needs a GPU, one after the other: `python3 benchmarks/gpu/run.py [--parts 1 2 3 4 5] [--minutes 9]`.

Each part is a process with a time limit of its own and writes `build/gpu/results/PART.jsonl` as it goes. What is there is not
measured again: call it until no row is new. A failure in one part, or in one row, does not stop the next. Where a row costs the
device, the part is started anew with the time that it has left, and goes on behind that row.

The path holds this tree, the wheels that were unpacked into `build/gpu/site-packages` (for part 5 into `build/gpu/verl`), and
what the Python had before.
`--rehearse` is the same on the CPU with small sizes: from a bare environment whose path has, beside those wheels, only what
`have.txt` says that the target has.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build"
PARTS = {1: "contract", 2: "statistics", 3: "training", 4: "long", 5: "verl"}
MINUTES = {1: 4.0, 2: 7.0, 3: 7.5, 4: 5.0, 5: 1.5}  # of 25; each below the ten of one command
BROKEN = 70  # a part ends with it where its device answers no more
UNFINISHED = 75  # where its time was over before its rows
GRACE = 20.0  # seconds before a part's limit after which it begins no row, so that the last one is not lost


def bare(folder: Path) -> tuple[str, Path]:
    """A Python without any package, and a folder with links to what `have.txt` lists: what a target would have."""
    from importlib.metadata import PackageNotFoundError, distribution

    from closure import read_have

    python = folder / "bare" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")], check=True)
    have = folder / "have"
    have.mkdir(parents=True, exist_ok=True)
    for name in read_have((HERE / "have.txt").read_text()):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in package.files or [] if file.parts[0] != ".."} - {"__pycache__"}:
            if not (have / top).exists():
                (have / top).symlink_to(Path(str(package.locate_file(top))).resolve())
    return str(python), have


def run(part: str, command: list[str], path: list[Path], limit: float) -> str:
    """One part in a process of its own, with everything that it starts; a line that says how it ended."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
    try:
        ended = f"ended with {process.wait(limit)}"
    except subprocess.TimeoutExpired:
        ended = "ran out of its time"
    finally:  # also where this process is told to end: a part that went on would keep the device
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # with whatever it started itself
        process.wait()
    return f"{part} {ended} after {time.monotonic() - began:.0f} s"


def errors(out: Path, part: str) -> list[str]:
    """The keys whose last row is an error."""
    path, last = out / f"{part}.jsonl", {}
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n"):  # the part was killed while it wrote
            continue
        row = json.loads(line)
        last[json.dumps(row["key"])] = row
    if not last:
        return ["no result at all"]
    return [f"{key}: {row['error']}\n{row.get('where', '')}" for key, row in last.items() if "error" in row]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, help="time limit of each part, in place of its own")
    parser.add_argument("--out", type=Path, help="where results go; by default build/gpu/results")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="small sizes on the CPU, from a bare environment")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    kit = BUILD / ("gpu-rehearsal" if options.rehearse else "gpu")
    out = options.out or kit / "results"
    python, more = sys.executable, []
    if options.rehearse:
        python, have = bare(kit)
        more.append(have)
        options.device = "cpu"
    failures = 0
    for number in options.parts:
        part = PARTS[number]
        # A rehearsal takes what it takes: a busy machine is no failure.
        limit = 60 * (options.minutes or (15 if options.rehearse else MINUTES[number]))
        path = [ROOT / "src", kit / ("verl" if part == "verl" else "site-packages"), *more]
        command = [python, str(HERE / "part.py"), part, "--out", str(out), "--device", options.device]
        command += ["--rehearse"] if options.rehearse else []
        until, ended = time.monotonic() + limit, f"ended with {BROKEN}"
        while f"ended with {BROKEN}" in ended:
            left = until - time.monotonic()
            within = ["--seconds", f"{max(left - GRACE, 1.0):.0f}"]
            ended = run(part, [*command, *within], path, left)
            print(ended, flush=True)
        failures += "ended with 0" not in ended
        for line in errors(out, part):
            failures += 1
            print(f"  {line}", flush=True)
    return 1 if failures and options.rehearse else 0


if __name__ == "__main__":
    sys.exit(main())
