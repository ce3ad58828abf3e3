"""A whole training run of verl on CPU: Ray, FSDP2, transfer queue, reward loop, weight sync, checkpoints.

    python training.py FOLDER [overrides of verl]       prints the entropy of each step

The policy is the tiny one, the task countdown, the rollout `transformers_rollout`; the rest is verl.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from environment import HERE, for_cpu
from host_case import countdown_data, tiny_folder

LIMIT = 900  # seconds for one run, on a machine that has other work


def settings(folder: Path, ranks: int, steps: int) -> list[str]:
    """verl's overrides for a small run in `folder`."""
    actor, rollout, model = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
    return [
        f"hydra.run.dir={folder}/hydra",
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/eval.parquet",
        "data.train_batch_size=16",
        "data.max_prompt_length=16",
        "data.max_response_length=24",
        "data.dataloader_num_workers=0",
        "data.shuffle=False",
        "algorithm.adv_estimator=grpo",
        f"{model}.path={folder}/model",
        f"+{model}.override_config.attn_implementation=sdpa",
        f"{model}.use_remove_padding=False",
        f"{model}.enable_gradient_checkpointing=False",
        f"{model}.external_lib=cpu_worker",
        f"{actor}.strategy=fsdp2",
        f"{actor}.use_torch_compile=False",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"+{actor}.fsdp_config.mixed_precision={{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}}",
        f"{actor}.ppo_mini_batch_size=16",
        f"{actor}.ppo_micro_batch_size_per_gpu={128 // ranks}",
        f"{actor}.optim.lr=5e-4",
        f"{actor}.optim.weight_decay=0",
        f"{rollout}.name=transformers",
        f"{rollout}.n=8",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.dtype=float32",
        f"{rollout}.free_cache_engine=False",
        f"{rollout}.log_prob_micro_batch_size_per_gpu={128 // ranks}",
        f"{rollout}.agent.num_workers=1",
        f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes=16",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={HERE}/countdown_reward.py",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "transfer_queue.backend.SimpleStorage.total_storage_size=2000",
        f"trainer.v1.sampler.custom_sampler.path={HERE}/quick_sampler.py",
        "trainer.v1.sampler.custom_sampler.name=QuickReplayBuffer",
        "trainer.device=cpu",
        f"trainer.n_gpus_per_node={ranks}",
        "trainer.nnodes=1",
        "trainer.logger=[file]",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        f"trainer.total_training_steps={steps}",
        "trainer.total_epochs=100",
        f"trainer.default_local_dir={folder}/checkpoints",
        "trainer.resume_mode=disable",
        "ray_kwargs.ray_init.num_cpus=16",
        f"+ray_kwargs.ray_init.num_gpus={ranks}",
        "+ray_kwargs.ray_init.include_dashboard=False",
    ]


def prepare(folder: Path) -> None:
    """The policy and the data, once per folder."""
    if not (folder / "model").exists():
        tiny_folder(folder / "model")
        countdown_data(folder / "train.parquet", 640)
        countdown_data(folder / "eval.parquet", 16, "eval")


class Run:
    """A training process and all that Ray starts for it; a context manager that leaves nothing behind."""

    def __init__(self, folder: Path, *overrides: str, ranks: int = 1, steps: int = 30) -> None:
        prepare(folder)
        self.log, self.metrics_file = folder / f"{time.time_ns()}.log", folder / f"{time.time_ns()}.jsonl"
        # Ray's sockets live here, and their paths must be short.
        self.ray = tempfile.mkdtemp(prefix="es-ray-", dir="/tmp")
        command = [sys.executable, "-m", "entrostat.hosts.verl", *settings(folder, ranks, steps)]
        command += [f"+ray_kwargs.ray_init._temp_dir={self.ray}", *overrides]
        environment = os.environ | for_cpu(os.environ) | {"VERL_FILE_LOGGER_PATH": str(self.metrics_file)}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    def wait(self) -> list[dict[str, Any]]:
        """The metrics of each step, when it has ended well."""
        code = self.process.wait(LIMIT)
        if code:
            raise RuntimeError(f"verl ended with {code}; the end of its log:\n{self.log.read_text()[-6000:]}")
        return self.metrics()

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of the steps so far."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text().splitlines(keepends=True)
        return [json.loads(line)["data"] for line in lines if line.endswith("\n")]

    def until(self, step: int) -> None:
        """Wait until a step has been logged."""
        deadline = time.monotonic() + LIMIT
        while len(self.metrics()) < step:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no step {step}; the end of the log:\n{self.log.read_text()[-6000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would, together with the processes that Ray keeps for this run."""
        import psutil

        own = [self.process.pid]
        for process in psutil.process_iter(["cmdline"]):
            if any(self.ray in part for part in process.info["cmdline"] or ()):
                own.append(process.pid)
        children = [
            c.pid for pid in own if psutil.pid_exists(pid) for c in psutil.Process(pid).children(recursive=True)
        ]
        for pid in dict.fromkeys([*own, *children]):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [o for o in sys.argv[2:] if not o.startswith("--")]
    plain = dict(o[2:].split("=") for o in sys.argv[2:] if o.startswith("--"))
    started = time.monotonic()
    with Run(folder, *overrides, **{name: int(value) for name, value in plain.items()}) as run:
        for step, metrics in enumerate(run.wait(), 1):
            shown = {k: metrics.get(f"entropy_control/{k}") for k in ("measured", "output", "authority")}
            print(
                step,
                {k: round(v, 4) for k, v in shown.items() if v is not None},
                round(metrics["critic/score/mean"], 3),
            )
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
