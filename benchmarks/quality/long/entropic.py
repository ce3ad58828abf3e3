"""EntroPIC in its own regime: `python benchmarks/quality/long/entropic.py [PART ...]`.

Exact tabular policies whose response is T positions long and earns one reward. Authority over drift against T, and whether the
released controller (kp 1, ki 0.01, p > 0.95, output within (-1, 1)) holds its target there. A row is written as it is done.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from entrostat.core.specification import make
from entrostat.lab import Bandit, random_bandit, train_bandit
from entrostat.lab.bandit_training import sampled_batch
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
ARMS, START, STEPS, RATE = 16, 0.25, 800, 0.2
LENGTHS = (1, 4, 16, 64, 256, 1024, 4096)


def language_like(positions: int, start: float = START, seed: int = 0, **training: Any) -> Bandit:
    """A policy most of whose tokens are near certain, and whose probable tokens are the better ones more often than not.

    At least 1,024 positions in all, so that short responses are averaged over many prompts.
    """
    states = positions * max(1, 1024 // positions)
    drawn = random_bandit(ARMS, states, start, seed)
    z_SV = drawn.policy.logits_SV
    z_SV = (z_SV - z_SV.mean(1, keepdim=True)) / z_SV.std(1, keepdim=True)
    noise_SV = torch.randn(z_SV.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=z_SV.dtype)
    worth_SV = torch.special.ndtr((z_SV + noise_SV) / math.sqrt(2))
    return Bandit(drawn.policy, worth_SV, positions=positions, **{"learning_rate": RATE} | training)


def ratio(positions: int, batches: int = 100) -> dict[str, float]:
    """What the advantages do to the entropy, and what the selection of probable tokens can, per token and unit of step."""
    bandit = language_like(positions)
    drift = authority = 0.0
    for seed in range(batches):
        batch = sampled_batch(bandit, seed)
        flow_B1 = batch.advantages_BT * batch.stats.centered
        chosen_B1 = batch.stats.prob > 0.95
        drift += float(flow_B1.mean()) / batches
        authority += float((batch.advantages_BT.abs() * batch.stats.centered)[chosen_B1].mean()) / batches
    return {"drift": drift, "authority": authority, "ratio": authority / drift}


def loop(
    positions: int,
    method: str,
    options: dict[str, Any],
    start: float = START,
    steps: int = STEPS,
    seed: int = 0,
    **training: Any,
) -> dict[str, Any]:
    """One closed loop: the entropy at twelve times, and error and output over the last third."""
    bandit = language_like(positions, start, seed, **training)
    trace = train_bandit(bandit, make(method, **options), steps, seed=seed)
    last = slice(-steps // 3, None)
    target = options.get("target")
    return {
        "entropy": [round(value, 4) for value in trace.entropy[:: steps // 12]],
        "end": round(fmean(trace.entropy[last]), 5),
        "error": None if target is None else round(fmean(trace.entropy[last]) / target - 1, 4),
        "output": round(fmean(trace.output[last]), 4),
        "saturated": round(fmean(abs(value) for value in trace.saturated[last]), 3),
    }


def cases(part: str) -> Iterator[dict[str, Any]]:
    """What a part is made of: the arguments of `ratio` or `loop`."""
    if part == "ratio":
        yield from ({"positions": positions} for positions in LENGTHS)
    if part == "length":
        for positions in (1024, 16, 4096, 64):
            yield {"positions": positions, "method": "observe", "options": {}}
            for share in (1.0, 0.75):
                yield {"positions": positions, "method": "entropic", "options": {"target": share * START}}
    if part == "holds":
        yield {"positions": 1024, "method": "entropic", "options": {"target": START}, "steps": 4000}
    if part == "stale":
        for options in ({"ki": 0.0}, {}):
            given = {"target": START, **options}
            yield {"positions": 1024, "method": "entropic", "options": given, "updates": 4}
        yield {"positions": 1024, "method": "observe", "options": {}, "updates": 4}
    if part == "collapsed":
        for target in (0.25, 0.1):
            yield {"positions": 1024, "method": "entropic", "options": {"target": target}, "start": 0.05}
        yield {"positions": 1024, "method": "hold", "options": {"target": 0.25}, "start": 0.05}
    if part == "gains":
        for options in ({"kp": 10.0}, {"ki": 0.1}, *({"threshold": threshold} for threshold in (0.0, 0.8, 0.99))):
            yield {"positions": 1024, "method": "entropic", "options": {"target": START, **options}}


PARTS = ("ratio", "length", "holds", "stale", "collapsed", "gains")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {PARTS}")
    parser.add_argument("--out", type=Path, default=HERE / "entropic.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        rows = record.setdefault(part, [])
        for case in cases(part):
            if any(row["case"] == case for row in rows):
                continue
            began = time.process_time()
            found = ratio(**case) if part == "ratio" else loop(**case)
            rows.append({"case": case, **found, "cpu_seconds": round(time.process_time() - began, 1)})
            print(part, rows[-1], flush=True)
            write_json(options.out, record | {"environment": environment(), "steps": STEPS, "learning_rate": RATE})


if __name__ == "__main__":
    main()
