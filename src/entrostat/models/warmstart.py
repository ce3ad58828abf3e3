"""Make the tiny policies' weights: supervised training on countdown completions, most of which miss the target.

    python -m entrostat.models.warmstart --out tiny-countdown.safetensors --seed 0
    python -m entrostat.models.warmstart --policy tiny-hard --out tiny-countdown-hard.safetensors --seed 0

Every completion in the training set is valid arithmetic, but a fraction ends elsewhere than at the target. So the
policy learns the format and the arithmetic (near-certain tokens) while its choices stay open (entropy) and mostly
wrong (accuracy to gain). The script measures that on held-out problems and writes it into the file and a JSON twin.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from entrostat.models.start import StartStatistics, measure_start
from entrostat.models.tiny import new_tiny
from entrostat.models.tokenizer import char_tokenizer
from entrostat.tasks.base import Problem
from entrostat.tasks.countdown import Countdown, solutions, traces

STEPS = 1_500


@dataclass(frozen=True)
class Recipe:
    """The shape of a policy, and the share of its training completions that ignore the target."""

    shape: dict[str, int]
    miss: float


RECIPES = {
    "tiny": Recipe({"width": 160, "layers": 3, "heads": 4, "hidden": 448}, 0.5),
    "tiny-hard": Recipe({"width": 96, "layers": 2, "heads": 4, "hidden": 256}, 0.95),
}
BATCH = 128
IGNORED = -100  # cross_entropy's default label for positions outside the loss


def train(
    *,
    seed: int,
    steps: int,
    miss: float,
    shape: dict[str, int],
    problems: list[Problem] | None = None,
) -> LlamaForCausalLM:
    """A policy trained for `steps` batches of 128 completions, of which a share `miss` ends elsewhere.

    Args:
        problems: of a task with other numbers; None: `training_problems`.
    """
    torch.manual_seed(seed)
    tokenizer, model = char_tokenizer(), new_tiny(**shape)
    problems = training_problems(seed) if problems is None else problems
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(100, steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.02, 1 - step / steps))
    )
    model.train()
    for step, (ids_BS, labels_BS) in enumerate(_batches(problems, tokenizer, steps, miss, seed)):
        logits_BSV = model(input_ids=ids_BS, attention_mask=(ids_BS != tokenizer.pad_token_id).long()).logits
        loss = cross_entropy(logits_BSV[:, :-1].flatten(0, 1), labels_BS[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5d}  loss {loss.item():.3f} nats per token", flush=True)
    return model.eval()


def training_problems(seed: int) -> list[Problem]:
    """All of the training split, none of the held-out one."""
    return Countdown().problems("train", 2_000, seed)


def _batches(
    problems: list[Problem], tokenizer: PreTrainedTokenizerFast, steps: int, miss: float, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Left-padded ids (B, S) and labels (B, S) that cover the completion and its EOS only."""
    rng = random.Random(seed)
    for _ in range(steps):
        texts, prompt_lengths = [], []
        for problem in rng.choices(problems, k=BATCH):
            given, target = tuple(problem.meta["numbers"]), problem.meta["target"]
            options = [text for text, _ in traces(given)] if rng.random() < miss else solutions(given, target)
            texts.append(problem.prompt + rng.choice(_tidy(options)) + str(tokenizer.eos_token))
            prompt_lengths.append(len(problem.prompt))
        encoded = tokenizer(texts, padding=True, return_tensors="pt")
        ids_BS, start_B = encoded["input_ids"], (encoded["attention_mask"] == 0).sum(1)
        first_B = (start_B + torch.tensor(prompt_lengths))[:, None]
        yield ids_BS, ids_BS.masked_fill(torch.arange(ids_BS.shape[1]) < first_B, IGNORED)


def _tidy(completions: list[str]) -> list[str]:
    """Those that put the larger operand first in every step but the first: fewer choices, so more near-certain tokens.

    Every set of operations has such a form, since results are never negative.
    """
    return [text for text in completions if all(_larger_first(step) for step in text.split(";")[1:])]


def _larger_first(step: str) -> bool:
    left, right = (int(operand) for operand in re.split(r"[-+*/]", step.split("=")[0]))
    return left >= right


def write(
    model: LlamaForCausalLM, path: Path, shape: dict[str, int], settings: dict[str, float], problems: int = 300
) -> StartStatistics:
    """Store `model` in fp16 with the start that its stored weights have, in the file and in a JSON beside it."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})  # measure what is stored
    task = Countdown()
    start = measure_start(model, char_tokenizer(), task, task.problems("eval", problems, seed=0), samples=16)
    record = {
        "script": "python -m entrostat.models.warmstart",
        "settings": settings,
        "parameters": sum(p.numel() for p in model.parameters()),
        "start": {name: round(value, 4) for name, value in asdict(start).items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"shape": json.dumps(shape), **{k: json.dumps(v) for k, v in record.items()}})
    path.with_suffix(".json").write_text(json.dumps({"shape": shape, **record}, indent=2) + "\n")
    return start


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m entrostat.models.warmstart", description=__doc__.split("\n")[0])
    parser.add_argument("--policy", choices=list(RECIPES), default="tiny")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--miss", type=float, help="share of completions that ignore the target; by default the policy's"
    )
    parser.add_argument("--problems", type=int, default=300, help="held-out problems to measure the start on")
    options = parser.parse_args(arguments)
    recipe = RECIPES[options.policy]
    miss = recipe.miss if options.miss is None else options.miss
    settings = {"seed": options.seed, "steps": options.steps, "miss": miss}
    model = train(seed=options.seed, steps=options.steps, miss=miss, shape=recipe.shape)
    print(write(model, options.out, recipe.shape, settings, options.problems))


if __name__ == "__main__":
    main()
