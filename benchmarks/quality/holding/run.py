"""Run the study of self-tuning control and write down what came out: `python benchmarks/quality/holding/run.py`.

Resumable: a run that has finished is not run again. `results.json` is written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from common.runner import add_options, run_all
from results import collect
from studies import all_cases

HERE = Path(__file__).parent
RUNS = HERE / "runs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["tiny", "smollm2"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", default="", help="only runs whose name contains this")
    add_options(parser)
    options = parser.parse_args()
    cases = [case for case in all_cases(tuple(options.models), tuple(options.seeds)) if options.only in case.name]
    run_all(cases, RUNS, lambda: collect(RUNS, HERE / "results.json"), options.workers, options.prefix)


if __name__ == "__main__":
    main()
