"""What every method does to the entropy, foreseen by the lens and measured: `python benchmarks/quality/lens/run.py`.

Every method trains the same exact tabular policies (`policies.py`) with the same random numbers as plain training. All figures
are shares of how far plain training moved the entropy.

foreseen: sum over the plain run's steps of the lens's predicted change with the method less without it, as a share of the
    predicted plain change.
first: sum over the method's own run of what its steps do to the entropy to first order, exactly and all terms included, less the
    same of the plain run.
measured: the entropy at the end, less that of plain training.
turns: share of the plain run's batches on which the lens says that some output turns the drift round.

A method that holds a target is asked for the initial entropy, one that holds a band for 0.9 to 1.1 of it. Resumable, seed by
seed; `--again NAME` measures some methods anew beside the others' rows. `report.py` makes the page.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from policies import Foreseen, World, ready, train

from entrostat.methods import names
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent


def study(seed: int, steps: int, methods: list[str]) -> dict[str, Any]:
    """These methods on one policy: what was foreseen along the plain run, and what came of it."""
    start = World(seed).entropy
    built = {name: ready(name, start) for name in methods}
    foreseen = Foreseen(built)
    plain = train(ready("observe", start), seed, steps, foreseen)
    moved = abs(plain["end"] - plain["start"])
    rows = {}
    for name, method in built.items():
        run = train(method, seed, steps)
        rows[name] = {
            "foreseen": round(foreseen.share(name), 5),
            "first": round((run["first"] - plain["first"]) / moved, 5),
            "measured": round((run["end"] - plain["end"]) / moved, 5),
            "reward": round(run["reward"] - plain["reward"], 5),
            "turns": round(foreseen.turned[name] / foreseen.looks, 4),
            "end": round(run["end"] / start, 5),
        }
    summary = {"start": start, "end": plain["end"], "first": plain["first"], "reward": plain["reward"]}
    return {"seed": seed, "plain": {key: round(value, 5) for key, value in summary.items()}, "methods": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--again", nargs="*", default=[], help="methods that are new or have changed")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(options.out.read_text()) if options.out.exists() else {"seeds": []}
    record |= {"environment": environment(), "steps": options.steps}
    for seed in range(options.seeds):
        known = next((row for row in record["seeds"] if row["seed"] == seed), None)
        if known and not options.again:
            continue
        began = time.process_time()
        found = study(seed, options.steps, options.again or names())
        if known:
            assert found["plain"] == known["plain"], "plain training is not what it was: measure all methods anew"
            known["methods"] = {name: (known["methods"] | found["methods"])[name] for name in names()}
        else:
            record["seeds"].append(found | {"commit": record["environment"]["git"]})
        write_json(options.out, record)
        print(f"seed {seed}: {time.process_time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
