"""One part in a process of its own; started by run.py."""

from __future__ import annotations

import argparse
import math
import sys
from importlib import import_module
from pathlib import Path

from record import Results
from run import UNFINISHED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--seconds", type=float, default=math.inf, help="no row begins after so many")
    options = parser.parse_args()
    results = Results(options.out / f"{options.part}.jsonl", options.seconds)
    import_module(f"parts.{options.part}").main(options.device, results, options.rehearse)
    if results.left_out:
        print(f"{results.left_out} rows of {options.part} are left for the next call", flush=True)
        sys.exit(UNFINISHED)


if __name__ == "__main__":
    main()
