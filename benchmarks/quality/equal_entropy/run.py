"""What methods cost and bring at one entropy: `python benchmarks/quality/equal_entropy/run.py`.

Each method's knob is driven to half of the initial entropy by the self-tuning controller (`driven.py`); players of the long study
(../long) learn with it for 500 steps and are judged exactly on held-out problems. A run takes ten seconds of a core.
Resumable; runs of one seed come before those of the next.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "long"))

import torch
from driven import DRIVEN, PLAIN, STALE, build
from player import Player
from players import prepared
from training import SETTINGS, judge, train

from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
NAMES = {"three numbers": [PLAIN, *DRIVEN], "three numbers, four updates a batch": [PLAIN, *STALE]}
LAST = 0.25  # of a run: where the entropy is compared with the target
METRICS = {"entropy": "measured", "error": "error", "output": "output", "saturated": "saturated"}


def one(setting_name: str, name: str, seed: int, steps: int, folder: str) -> dict[str, Any]:
    """One run and what came out: entropy, error and output over its last quarter, exact scores at its end."""
    setting = replace(SETTINGS[setting_name], steps=steps)
    training, held_out, start = prepared(setting_name, seed, folder)
    seen: dict[str, list[float]] = {}

    def after(step: int, _: Player, metrics: dict[str, float]) -> None:
        for short, key in METRICS.items():
            if (value := metrics.get(f"entropy_control/{key}")) is not None:
                seen.setdefault(short, []).append(value)
        seen.setdefault("reward", []).append(metrics["reward"])

    began = time.process_time()
    player = train(start, training, build(name, setting.updates > 1), setting, steps, seed, after)
    late = {key: values[-max(int(LAST * steps), 1) :] for key, values in seen.items()}
    row = {"setting": setting_name, "method": name, "seed": seed, "steps": steps, "start": round(seen["entropy"][0], 5)}
    row |= {key: round(fmean(values), 5) for key, values in late.items()}
    if "error" in late:
        row["error_rms"] = round(math.sqrt(fmean(value**2 for value in late["error"])), 5)
    return row | {"held_out": judge(player, held_out), "cpu_seconds": round(time.process_time() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the start is kept")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that a target is out of reach is a result here
    options.runs.mkdir(parents=True, exist_ok=True)
    record = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    there = {(row["setting"], row["method"], row["seed"]) for row in record["runs"]}
    for seed in options.seeds:
        for setting, names in NAMES.items():
            for name in names:
                if (setting, name, seed) in there or (options.methods and name not in options.methods):
                    continue
                here = environment()
                row = one(setting, name, seed, options.steps, str(options.runs)) | {"commit": here["git"]}
                record = {"environment": here, "runs": [*record["runs"], row]}
                write_json(options.out, record)
                print({key: row[key] for key in ("method", "seed", "entropy", "reward", "cpu_seconds")}, flush=True)


if __name__ == "__main__":
    main()
