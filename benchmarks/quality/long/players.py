"""The long study on players: `python benchmarks/quality/long/players.py`. A run takes half a minute of one core, or less.

Every arm over a thousand steps and more, judged exactly on held-out problems. A seed has problems and a start of its own, which
all its arms share: differences between arms are of one start, and an interval over seeds speaks of starts and training.
Resumable: rows that are in `results.json` are not run again. Runs of one seed come before those of the next, so that what is
there is balanced. A start is warmed up where its file is missing, and on another CPU it is another policy: rows from another
start are not mixed with.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

import torch
from game import Game, games
from player import Player
from studies import arms
from training import SETTINGS, Setting, judge, train, warm_start

from entrostat.core.specification import build_method
from entrostat.run.config import load_config
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
SEEDS = (1, 2, 3, 4, 5)
ALL = (
    *("plain", "hold-75%", "anneal-linear", "clip_v-1", "hold-50%", "hold-100%", "bonus-0.1", "floor-75%", "clip_b-1"),
    *("hold-30%", "hold-15%", "floor-50%", "anneal-50-to-15%", "hold-then-decay", "entropic-50%", "aec-50%"),
    *("clip_b-0.5", "clip_b-2.5", "clip_v-2", "clip_v-8.5", "bonus-0.01", "bonus-0.4", "w_reinforce", "nsr"),
    *("flow-50%", "temperature-50%", "band-75-100%"),
)
OFF_POLICY = ("plain", "clip-higher", "hold-75%", "hold-50%", "entropic-50%", "entropic-P-50%", "clip_b-1", "clip_v-1")
STUDIED = {
    "three numbers": ALL,
    "four numbers": ALL,
    "three numbers, four updates a batch": OFF_POLICY,
    "three numbers, 4,000 steps": ("plain", "hold-75%", "hold-50%", "hold-30%", "hold-then-decay", "clip_v-1"),
    "three numbers, 16 problems a reward": ("plain", "entropic-50%", "hold-50%"),
    "three numbers, 64 problems a reward": ("plain", "entropic-50%", "hold-50%"),
}
WINDOW = 50
SAME_START = 5e-4
"""Two starts whose exact scores are no further apart are one policy, but for rounding."""
CURVES = {
    "entropy": "entropy_control/measured",
    "target": "entropy_control/target",
    "output": "entropy_control/output",
    "near_certain": "token_entropy/near_certain",
    "authority": "entropy_control/authority",
    "drift": "token_entropy/flow",
    "reward": "reward",
    "without_spread": "without_spread",
}


def prepared(name: str, seed: int, folder: str) -> tuple[Game, Game, Player]:
    """Training and held-out problems, and the start of a run, kept as a file; settings that do not differ in them share them."""
    return _prepared(_beginning(SETTINGS[name]), seed, folder)


def start_scores(name: str, seed: int, folder: str) -> dict[str, Any]:
    """Exact scores of the start on the held-out problems and on some of the training problems."""
    return _start_scores(_beginning(SETTINGS[name]), seed, folder)


def _beginning(setting: Setting) -> Setting:
    """What problems and start depend on, the rest left at its defaults."""
    fields = ("numbers", "miss", "warm", "train", "held_out")
    return Setting(**{field: getattr(setting, field) for field in fields})


@lru_cache(maxsize=2)
def _prepared(setting: Setting, seed: int, folder: str) -> tuple[Game, Game, Player]:
    training, held_out = games(setting.numbers, setting.train, setting.held_out, seed)
    path = Path(folder) / f"start-{setting.numbers}-{setting.miss}-{setting.warm}-{seed}.pt"
    if path.exists():
        player = Player()
        player.load_state_dict(torch.load(path, weights_only=True))
    else:
        player = warm_start(setting, training, seed)
        torch.save(player.state_dict(), path)
    return training, held_out, player


@lru_cache(maxsize=2)
def _start_scores(setting: Setting, seed: int, folder: str) -> dict[str, Any]:
    training, held_out, start = _prepared(setting, seed, folder)
    return {"held_out": judge(start, held_out), "train": judge(start, _some(training))}


def _some(training: Game) -> Game:
    """The training problems on which policies are judged."""
    return training.part(torch.arange(400))


def one(name: str, arm: str, seed: int, folder: str) -> dict[str, Any]:
    """One run and what came out."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that a target is out of reach is a result here
    setting: Setting = SETTINGS[name]
    training, held_out, start = prepared(name, seed, folder)
    asked = load_config(None, [*arms(setting.steps)[arm]]).method
    seen: dict[str, list[float]] = {}
    some = _some(training)
    judged = {0: start_scores(name, seed, folder)}

    def after(step: int, player: Player, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            seen.setdefault(key, []).append(value)
        if step in setting.judged:
            judged[step] = {"held_out": judge(player, held_out), "train": judge(player, some)}

    began = time.process_time()
    train(start, training, build_method(asked.name, asked.options), setting, setting.steps, seed, after)
    windows = {short: means(seen[key]) for short, key in CURVES.items() if key in seen}
    kept = {"judged": judged, "windows": windows, "cpu_seconds": round(time.process_time() - began, 1)}
    return {"setting": name, "arm": arm, "seed": seed, "steps": setting.steps} | kept


def of_another_start(
    rows: Sequence[Mapping[str, Any]],
    wanted: Collection[tuple[str, str, int]],
    scores: Mapping[tuple[str, int], Mapping[str, Any]],
) -> list[str]:
    """What stays in the results beside `wanted` and began at another start than theirs; `scores` are of setting and seed."""
    found = []
    for row in rows:
        name, arm, seed = row["setting"], row["arm"], row["seed"]
        here = scores.get((name, seed))
        if here is None or (name, arm, seed) in wanted:
            continue
        there = row["judged"]["0"]["held_out"]["pass"]
        if max(abs(there[str(k)] - share) for k, share in here["pass"].items()) > SAME_START:
            found.append(f"{name}, {arm}, seed {seed}")
    return found


def means(values: list[float]) -> list[float]:
    """Mean over every window of `WINDOW` steps."""
    return [round(fmean(values[at : at + WINDOW]), 5) for at in range(0, len(values), WINDOW)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", default=list(STUDIED), help=f"of {list(STUDIED)}")
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--again", action="store_true", help="run again what is there")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the starts are kept")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    record = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    there = set() if options.again else {(row["setting"], row["arm"], row["seed"]) for row in record["runs"]}
    wanted = [
        (name, arm, seed)
        for seed in options.seeds
        for name in options.settings
        for arm in STUDIED[name]
        if (not options.arms or arm in options.arms) and (name, arm, seed) not in there
    ]
    scores = {}
    for name, seed in dict.fromkeys((name, seed) for name, _, seed in wanted):
        # Before several processes ask for the start.
        scores[name, seed] = start_scores(name, seed, str(options.runs))["held_out"]
    if other := of_another_start(record["runs"], wanted, scores):
        raise SystemExit(
            f"{options.out} holds runs from another start than the one in {options.runs}: {'; '.join(other[:5])}"
            f"{f' and {len(other) - 5} more' if len(other) > 5 else ''}. Compare runs of one start alone: run all arms of the "
            "setting with --again, or name another file with --out."
        )
    commit = environment()["git"]
    with ProcessPoolExecutor(options.workers) as pool:
        waiting = [pool.submit(one, *each, str(options.runs)) for each in wanted]
        for future in as_completed(waiting):
            row = future.result() | {"commit": commit}
            key = [row[field] for field in ("setting", "arm", "seed")]
            rows = [old for old in record["runs"] if [old[field] for field in ("setting", "arm", "seed")] != key]
            record = {"environment": environment(), "window": WINDOW, "runs": [*rows, row]}
            write_json(options.out, record)
            last = row["judged"][row["steps"]]["held_out"]
            print(f"{key} {row['windows']['entropy'][-1]:.3f} {last} {row['cpu_seconds']} s", flush=True)


if __name__ == "__main__":
    main()
