"""What the tests with verl share: the tiny policy as a folder, countdown as verl's data, and small configurations."""

from __future__ import annotations

from pathlib import Path

CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def tiny_folder(folder: Path) -> Path:
    """The tiny policy and its tokenizer as transformers writes them; a chat's prompt is its text alone."""
    from entrostat.models import load_policy

    policy = load_policy("tiny")
    policy.tokenizer.chat_template = CHAT
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    return folder


def countdown_data(path: Path, count: int, split: str = "train", seed: int = 0) -> Path:
    """Countdown problems as the rows that verl's dataset reads."""
    import json

    from datasets import Dataset

    from entrostat.tasks.countdown import Countdown

    rows = [
        {
            "data_source": "countdown",
            "prompt": [{"role": "user", "content": problem.prompt}],
            "reward_model": {"style": "rule", "ground_truth": json.dumps([problem.prompt, problem.meta])},
            "extra_info": {"index": index, "split": split},
        }
        for index, problem in enumerate(Countdown().problems(split, count, seed))
    ]
    Dataset.from_list(rows).to_parquet(str(path))
    return path


def compose(*overrides: str):
    """verl's own configuration with overrides, as its main would see it."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(overrides))


SMALL = (
    "algorithm.adv_estimator=grpo",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.rollout.name=transformers",
    "transfer_queue.enable=True",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "transfer_queue.backend.SimpleStorage.total_storage_size=1000",
    "trainer.v1.trainer_mode=entrostat_sync",
)
