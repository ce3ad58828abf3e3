"""GRPO with TRL on several devices, its entropy held at a target: one line around the trainer, whatever the launcher.

    accelerate launch --config_file examples/trl/fsdp2.yaml examples/trl/grpo_flow.py --model MODEL --target 0.3
    accelerate launch --config_file examples/trl/zero3.yaml examples/trl/grpo_flow.py --model MODEL --target 0.3

The controller's mean is over all processes and micro-batches of an optimizer step.
"""

from __future__ import annotations

import argparse

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import entrostat as es
from entrostat.tasks.base import Problem
from entrostat.tasks.countdown import Countdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder or a hub id")
    parser.add_argument("--target", type=float, required=True, help="entropy to hold [nats per token]")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--per-device", type=int, default=16, help="completions per device and micro-batch")
    parser.add_argument("--length", type=int, default=256, help="tokens of a completion, at most")
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--out", default="runs/grpo-flow")
    parser.add_argument("--no-bf16", action="store_true")
    options = parser.parse_args()

    task = Countdown()
    rows = [{"prompt": p.prompt, "meta": p.meta} for p in task.problems("train", 512, seed=0)]

    def reward(prompts, completions, meta, **_):
        return [task.score(Problem("", "", m), text) for m, text in zip(meta, completions, strict=True)]

    Trainer = es.trl.controlled(GRPOTrainer, es.flow(target=options.target))
    Trainer(
        model=options.model,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        args=GRPOConfig(
            output_dir=options.out,
            max_steps=options.steps,
            learning_rate=options.lr,
            per_device_train_batch_size=options.per_device,
            num_generations=8,
            max_completion_length=options.length,
            beta=0.0,
            bf16=not options.no_bf16,
            logging_steps=1,
            report_to=[],
        ),
    ).train()


if __name__ == "__main__":
    main()
