"""One part in a process of its own; started by run.py."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from record import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    results = Results(options.out / f"{options.part}.jsonl")
    import_module(f"parts.{options.part}").main(options.device, results, options.rehearse)


if __name__ == "__main__":
    main()
