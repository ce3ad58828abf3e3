"""Follow three trajectories under three controllers: `python benchmarks/trajectories/run.py`.

Resumable: a run that has finished is not run again. `results.json` is written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from common.runner import add_options, run_all
from results import collect
from studies import SEEDS, all_cases

HERE = Path(__file__).parent
RUNS = HERE / "runs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    add_options(parser)
    options = parser.parse_args()
    run_all(
        all_cases(options.seeds), RUNS, lambda: collect(RUNS, HERE / "results.json"), options.workers, options.prefix
    )


if __name__ == "__main__":
    main()
