"""What entropy control costs in verl's driver: seconds and memory at 1,024 x 8,192 tokens, on synthetic statistics.

    .venv-verl/bin/python benchmarks/speed/verl_driver.py            writes benchmarks/speed/verl_driver.json

Two measurements, every case in a process of its own:

* `driver`: verl's real trainer and a real transfer queue that holds the batch. The seconds of verl's own advantages, and of
  what follows with control: reading the statistics, the controller step with its weights, and writing the advantages. A
  step becomes longer by the latter; verl's own is there to judge it by.
* `arithmetic`: the controller step alone, on batches of a quarter, a half and the whole of the rows, with its peak memory.

A whole step needs accelerators. `step` therefore sets the seconds against the shortest synchronous step that verl's own
pages publish for sequences of this kind, brought to as many sequences, and gives the step that 1 % would take.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
HOST = HERE.parents[1] / "tests" / "hosts" / "verl" / "host"
OUT = HERE / "verl_driver.json"
ROWS, TOKENS, PROMPT, REPEATS = 1024, 8192, 64, 5
METHODS = ("observe", "flow", "clip_b", "entropic")

PUBLISHED: dict[str, Any] = {
    "source": "verl, docs/advance/fully_async.md, 'Asynchronous Training on 7B Model', colocate sync on 128 GPUs",
    "setting": "Qwen2.5-Math-7B, DAPO, 128 H20, 512 prompts x 16 rollouts of at most 28K tokens",
    "seconds": 356.30,
    "sequences": 8192,
}


def options(name: str) -> dict[str, float]:
    return {} if name in ("observe", "clip_b") else {"target": 0.3}


def columns(rows: int) -> tuple[Any, dict[str, Any]]:
    """Lengths between a quarter of TOKENS and the whole, and a statistic per position."""
    import torch

    torch.manual_seed(0)
    lengths = torch.randint(TOKENS // 4, TOKENS + 1, (rows,))
    logp = -torch.rand(rows, TOKENS).square_()
    return lengths, {"logp": logp, "entropy": -0.9 * logp, "baseline": 0.01 * logp}


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def arithmetic(name: str, rows: int) -> dict[str, Any]:
    import torch

    import entrostat as es
    from entrostat.core.control import EntropyControl
    from entrostat.hosts.verl.batch import control_batch
    from entrostat.types import TokenBatch, TokenStats

    lengths, statistics = columns(rows)
    mask = (torch.arange(TOKENS) < lengths[:, None]).long()
    advantages = torch.randn(rows, 1).expand(rows, TOKENS).contiguous()
    batch = TokenBatch(TokenStats(**statistics), advantages, mask)
    control = EntropyControl(es.make(name, **options(name)))
    before, started = peak(), time.perf_counter()
    control_batch(control, batch, "token-mean", (0.2, 0.2, 3.0))
    return {
        "method": name,
        "rows": rows,
        "tokens": int(mask.sum()),
        "seconds": round(time.perf_counter() - started, 3),
        "extra_bytes_per_position": round((peak() - before) / mask.numel(), 1),
    }


def driver(name: str) -> dict[str, Any]:
    sys.path.insert(0, str(HOST))
    from environment import for_cpu

    os.environ.update(for_cpu(os.environ) | {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]})
    import ray
    import torch
    import transfer_queue as tq
    from host_case import compose
    from verl.trainer.ppo.v1 import get_trainer_cls

    from entrostat.hosts.verl import fields
    from entrostat.hosts.verl.batch import control_batch
    from entrostat.hosts.verl.trainer import clip_range

    config = compose(
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.n=16",
        "transfer_queue.enable=True",
        f"transfer_queue.backend.SimpleStorage.total_storage_size={2 * ROWS}",
        "trainer.v1.trainer_mode=entrostat_sync",
        f"+entrostat.method.name={name}",
        *(f"+entrostat.method.{key}={value}" for key, value in options(name).items()),
    )
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False)
    tq.init(config.transfer_queue)
    trainer = get_trainer_cls("entrostat_sync")(config)
    plain: Any = super(type(trainer).__mro__[1], trainer)  # verl's own trainer, of the same object
    trainer.global_steps = 1

    batch = fill(tq, fields.STATISTIC, torch)

    parts: dict[str, list[float]] = {part: [] for part in ("verl", "read", "control", "write")}

    def part(name: str, run: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = run(*arguments)
        parts[name].append(time.perf_counter() - started)
        return result

    actor = config.actor_rollout_ref.actor
    for _ in range(REPEATS + 1):  # as `Controlled._compute_advantage` does, part by part
        part("verl", plain._compute_advantage, batch, {})
        token_batch, like = part("read", trainer._read, batch)
        update = part(
            "control", control_batch, trainer.entropy_control, token_batch, actor.loss_agg_mode, clip_range(actor)
        )
        part("write", trainer._write, batch, update, like)
    tq.close()
    ray.shutdown()
    seconds = {name: round(median(times[1:]), 3) for name, times in parts.items()}  # the first one warms up
    return {
        "method": name,
        "rows": ROWS,
        "seconds": seconds,
        "added_seconds": round(sum(seconds.values()) - seconds["verl"], 3),
    }


def fill(tq: Any, statistic: str, torch: Any) -> Any:
    """The batch as agent loops and workers leave it in the queue: one row per trajectory."""
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    lengths, statistics = columns(ROWS)
    keys: list[str] = []
    batch: Any = None
    for first in range(0, ROWS, 64):
        rows = []
        for i in range(first, first + 64):
            length = int(lengths[i])
            per_token = {name: value[i, :length].clone() for name, value in statistics.items()}
            # Per token of prompt and response, as an engine's outputs are.
            full = {n: torch.cat([torch.zeros(PROMPT - 1), v, torch.zeros(1)]) for n, v in per_token.items()}
            scores = torch.zeros(length)
            scores[-1] = float(i % 3 == 0)
            rows.append(
                {
                    "uid": f"u{i // 16}",
                    "response_mask": torch.ones(length, dtype=torch.long),
                    "rm_scores": scores,
                    "rollout_log_probs": per_token["logp"],
                    "old_log_probs": per_token["logp"],
                    **{statistic.format(n): v for n, v in full.items()},
                }
            )
        names = [f"u{i // 16}_{i % 16}_0" for i in range(first, first + 64)]
        tags = [{"seq_len": PROMPT + int(lengths[i])} for i in range(first, first + 64)]
        batch = tq.kv_batch_put(keys=names, partition_id="train", fields=list_of_dict_to_tensordict(rows), tags=tags)
        keys += names
    return type(batch)(partition_id="train", keys=keys, tags=[{}] * ROWS)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    packages = ("entrostat", "torch", "verl", "ray", "TransferQueue")
    return {
        "processor": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def one(*arguments: str) -> dict[str, Any]:
    """A case in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(os.cpu_count())},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(result, flush=True)
    return result


def main() -> None:
    if len(sys.argv) > 1:
        kind, name, *rest = sys.argv[1:]
        print(json.dumps(driver(name) if kind == "driver" else arithmetic(name, int(rest[0]))))
        return
    drivers = [one("driver", name) for name in METHODS]
    sizes = [
        one("arithmetic", name, str(rows))
        for name in METHODS
        if name != "observe"
        for rows in (ROWS // 4, ROWS // 2, ROWS)
    ]
    step = PUBLISHED["seconds"] * ROWS / PUBLISHED["sequences"]
    for case in drivers:
        case["share_of_published_step"] = round(case["added_seconds"] / step, 4)
        case["one_percent_of_a_step_of_seconds"] = round(100 * case["added_seconds"], 1)
    record = {
        "machine": machine(),
        "positions": [ROWS, TOKENS],
        "published_step": PUBLISHED | {"seconds_for_as_many_sequences": round(step, 2)},
        "driver": drivers,
        "arithmetic": sizes,
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
