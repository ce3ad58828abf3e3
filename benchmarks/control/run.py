"""Run the studies of entropy control and write down what came out: `python benchmarks/control/run.py`.

Resumable: a run whose folder holds a summary is not run again. Two runs go side by side, one thread each.
`results.json` is written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from common.runner import add_options, run_all
from results import collect
from studies import STUDIES, all_cases

HERE = Path(__file__).parent
RUNS = HERE / "runs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help=f"of {list(STUDIES)}")
    add_options(parser)
    options = parser.parse_args()
    cases = all_cases(tuple(options.studies))
    run_all(cases, RUNS, lambda: collect(RUNS, HERE / "results.json"), options.workers, options.prefix)


if __name__ == "__main__":
    main()
