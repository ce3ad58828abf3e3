"""What control costs: plain TRL and controlled TRL, step by step in turn within one process.

    python benchmarks/speed/overhead.py [--model tiny|smollm2] [--method hold] [--steps 60]

Two trainers run in two threads that hand each other the turn after every optimizer step (generation, update and logging
included), so that both see the same machine. The ratio of the medians goes into `overhead.json`, with the paired ratios'
quartiles. `--memory` measures the peak resident memory of each side in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

HERE = Path(__file__).parent
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "task": ("countdown", {}),
        "batch": 128,
        "generations": 8,
        "temperature": 1.0,
        "length": 16,
        "accumulate": 1,
        "threads": 1,
    },
    # One-digit sums after four examples, at the temperature at which the model can do them. In one piece the activations of
    # both sides do not fit into 16 GB.
    "smollm2": {
        "task": ("rg:chain_sum", {"shots": 4, "min_digits": 1, "max_digits": 1, "min_terms": 2, "max_terms": 2}),
        "batch": 16,
        "generations": 8,
        "temperature": 0.6,
        "length": 32,
        "accumulate": 4,
        "threads": 2,
    },
}


class Turns:
    """Lets threads take steps in turn, and times each one's."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.turn, self.change = names, names[0], threading.Condition()
        self.seconds: dict[str, list[float]] = {name: [] for name in names}

    def take(self, name: str) -> None:
        with self.change:
            self.change.wait_for(lambda: self.turn == name)

    def give(self, name: str) -> None:
        with self.change:
            self.turn = self.names[(self.names.index(name) + 1) % len(self.names)]
            self.change.notify_all()


def build(name: str, settings: dict[str, Any], steps: int, method: str | None, callback: Any) -> Any:
    """A trainer; plain TRL where `method` is None. The learning rate is so low that both keep the same policy."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    import entrostat as es
    from entrostat.models import load_policy
    from entrostat.tasks import load_task

    torch.set_num_threads(settings["threads"])
    policy = load_policy(name)
    task = load_task(settings["task"][0], **settings["task"][1])
    problems = task.problems("train", steps * settings["batch"] // settings["generations"] % 1500 + 8, 0)

    def reward(completions: list[str], problem: list[int], **_: Any) -> list[float]:
        return [task.score(problems[i], text) for i, text in zip(problem, completions, strict=True)]

    cls = GRPOTrainer if method is None else es.trl.controlled(GRPOTrainer, made(method))
    trainer = cls(
        model=policy.model,
        processing_class=policy.tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict(
            {"prompt": [p.prompt for p in problems], "problem": list(range(len(problems)))}
        ),
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=settings["batch"] // settings["accumulate"],
            gradient_accumulation_steps=settings["accumulate"],
            num_generations=settings["generations"],
            max_completion_length=settings["length"],
            # No token ends a completion, so all are as long and a step of one side is a step of the other.
            generation_kwargs={"eos_token_id": -1},
            temperature=settings["temperature"],
            learning_rate=1e-9,
            max_steps=steps,
            beta=0.0,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        callbacks=[callback] if callback else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def made(method: str) -> Any:
    """The method at a target where its output is not zero."""
    import entrostat as es

    return es.make(method, **({"target": 0.3} if method in ("hold", "flow", "entropic", "skywork") else {}))


def alternate(name: str, settings: dict[str, Any], steps: int, method: str) -> dict[str, Any]:
    """Median step times and their ratio."""
    from transformers import TrainerCallback

    turns = Turns(["plain", "controlled"])

    class Side(TrainerCallback):
        def __init__(self, side: str) -> None:
            self.side = side
            self.began: float | None = None

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.began is not None:
                turns.seconds[self.side].append(time.perf_counter() - self.began)
                turns.give(self.side)
            turns.take(self.side)
            self.began = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            turns.give(self.side)

    trainers = {
        side: build(name, settings, steps, method if side == "controlled" else None, Side(side)) for side in turns.names
    }
    threads = [threading.Thread(target=trainer.train) for trainer in trainers.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    warm = min(3, steps // 4)
    plain, controlled = (turns.seconds[side][warm:] for side in turns.names)
    ratios = [c / p for p, c in zip(plain, controlled, strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    return {
        "model": name,
        "method": method,
        "steps": len(ratios),
        "threads": settings["threads"],
        "micro_batches": settings["accumulate"],
        "median_step_seconds": {"plain": round(median(plain), 4), "controlled": round(median(controlled), 4)},
        "ratio_of_medians": round(median(controlled) / median(plain), 4),
        "paired_ratio_quartiles": [round(v, 4) for v in (low, middle, high)],
    }


def memory(name: str, method: str, steps: int = 3) -> dict[str, Any]:
    """Peak resident memory [MB] of a short run of each side, each in a process of its own."""
    peaks = {}
    for side in ("plain", "controlled"):
        command = [sys.executable, __file__, "--model", name, "--method", method, "--steps", str(steps), "--side", side]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[side] = float(done.stdout.strip().splitlines()[-1])
    return {"peak_mb": peaks, "memory_ratio": round(peaks["controlled"] / peaks["plain"], 4)}


def peak() -> float:
    """Peak resident memory of this process [MB]. `ru_maxrss` would count what its parent took before it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SETTINGS), default="tiny")
    parser.add_argument("--method", default="hold")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--memory", action="store_true", help="measure peak memory too")
    parser.add_argument("--side", choices=["plain", "controlled"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE / "overhead.json")
    options = parser.parse_args()
    settings = SETTINGS[options.model]
    if options.side:
        build(
            options.model, settings, options.steps, options.method if options.side == "controlled" else None, None
        ).train()
        print(peak())
        return
    from entrostat.run.environment import environment

    row = alternate(options.model, settings, options.steps, options.method)
    if options.memory:
        row |= memory(options.model, options.method)
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    kept = [r for r in rows if (r["model"], r["method"]) != (row["model"], row["method"])]
    rows = [*kept, row | {"environment": environment()}]
    options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
