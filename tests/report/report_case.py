"""A run folder for the tests of the report: every column that it draws, and tokens that no page should be fooled by."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

QUADRANTS = ("positive_likely", "positive_unlikely", "negative_likely", "negative_unlikely")
HOSTILE = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "\u200b\u200d\ufeff",
    "\ud800",
    "\ufffd",
    "`${window.pwned=1}`",
    "{{DATA}}",
    "z" + "\u0301" * 50,
    "\u2028",
)


def write_run(
    folder: Path,
    steps: int = 60,
    records: int = 3,
    completions: int = 4,
    length: int = 40,
    texts: Sequence[str] = HOSTILE,
) -> Path:
    """A made-up run whose entropy is held at 0.3 from 0.5."""
    made = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("model: tiny\nmethod: {name: hold, target: 0.3}\nsteps: 60\n")
    level, rows = 0.5, []
    for step in range(1, steps + 1):
        level += 0.1 * (0.3 - level)
        row = {
            "step": step,
            "reward": 0.2 + 0.5 * step / steps + made.gauss(0, 0.02),
            "grad_norm": abs(made.gauss(0.3, 0.05)),
            "completions/mean_length": 300 + made.gauss(0, 5),
            "entropy_control/measured": level + made.gauss(0, 0.01),
            "entropy_control/target": 0.3,
            "entropy_control/output": math.sin(step / 10),
            "entropy_control/proportional": 0.5 * math.sin(step / 10),
            "entropy_control/integral_part": 0.5 * math.sin(step / 10),
            "entropy_control/saturated": float(step % 20 == 0),
            "entropy_control/predicted": made.gauss(0, 0.01),
        }
        row |= {
            f"token_entropy/flow_{name}": (-1) ** (i in (0, 3)) * 0.01 * (i + 1) for i, name in enumerate(QUADRANTS)
        }
        if step % 20 == 0:
            row |= {"eval/greedy": 0.5 * step / steps, "eval/pass@8": 0.8 * step / steps}
        rows.append(row)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tokens").mkdir(exist_ok=True)
    for number in range(1, records + 1):
        step = max(1, number * steps // (records + 1))
        write_tokens(folder / "tokens" / f"step-{step:08d}.safetensors", step, completions, length, texts)
    return folder


def write_tokens(path: Path, step: int, completions: int, length: int, texts: Sequence[str]) -> None:
    """One record: the first tokens of each completion are `texts`, the others plain words."""
    random = np.random.default_rng(step)
    total = completions * length
    entropy = random.gamma(0.5, 1.0, total).astype("f4")
    advantages = np.repeat(np.where(np.arange(completions) % 2, 1.0, -1.0), length).astype("f4")
    centered = (0.1 * random.normal(size=total)).astype("f4")
    words = {i: text for i, text in enumerate(texts)} | {i: f" w{i}" for i in range(len(texts), 200)}
    ids = random.integers(len(texts), 200, (completions, length))
    ids[:, : min(len(texts), length)] = np.arange(min(len(texts), length))
    tensors = {
        "lengths": np.full(completions, length, "i4"),
        "full_lengths": np.full(completions, length + 5, "i4"),
        "rewards": (np.arange(completions) % 2).astype("f4"),
        "ids": ids.reshape(-1).astype("i4"),
        "logp": -random.exponential(entropy + 1e-3).astype("f4"),
        "entropy": entropy,
        "centered": centered,
        "advantages": advantages,
        "ratio": np.ones(total, "f4"),
        "weight": random.uniform(0, 2, total).astype("f4"),
        "would/flow": (1 + advantages * centered).astype("f2"),
        "would/nsr": (advantages < 0).astype("f2"),
        "would/entropy_bonus": np.ones(total, "f2"),
        "vocabulary/ids": np.arange(20, dtype="i4"),
        "vocabulary/flow": (np.arange(20) - 9.5).astype("f4"),
        "vocabulary/count": np.arange(1, 21, dtype="i4"),
    }
    prompts = [f"Question {row} <b>bold</b> \u202e{'?' * row}" for row in range(completions)]
    told = {
        "texts": words,
        "prompts": prompts,
        "terms": {"entropy_bonus": ["entropy"]},
        "rows": list(range(completions)),
    }
    save_file(
        tensors, path, {"schema": "1", "step": str(step)} | {key: json.dumps(value) for key, value in told.items()}
    )
