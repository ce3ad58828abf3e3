"""A very small TRL run for the adapter's tests: a random policy of a few thousand parameters on made-up prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from device import DEVICE
from transformers import LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from entrostat.models.tokenizer import char_tokenizer
from entrostat.stats import reference_stats
from entrostat.types import TokenStats

PROMPTS = ["1 2>3:", "4 5>9:", "2 7>14:", "3 3>0:", "9 8>1:", "6 2>8:", "5 5>25:", "7 1>6:"]
TOKENIZER = char_tokenizer()
TOKENIZER.model_input_names = ["input_ids", "attention_mask"]  # transformers 4 would send token_type_ids to generate


SHAPE = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": TOKENIZER.pad_token_id,
    "eos_token_id": TOKENIZER.eos_token_id,
    "bos_token_id": None,
    "tie_word_embeddings": False,
}
"""Settings of a small model of any family."""


def policy(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=1))
    with torch.no_grad():  # sharp enough that tokens differ in probability
        model.lm_head.weight.mul_(12)
    return model.to("cuda") if DEVICE == "cuda" else model


def exact_stats(model: Any, inputs: dict[str, Any], temperature: float = 1.0) -> TokenStats:
    """Statistics of a batch's completions under a policy, in fp64, by a forward pass of the test's own."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    keep = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -keep - 1 : -1].double()
    return reference_stats(logits, inputs["completion_ids"], temperature)


def prescribed(text_of: Callable[[int, int], str], base: type = GRPOTrainer) -> type:
    """A trainer whose completions are given: `text_of(prompt, sample)`, by the prompt's number and its own in the group."""

    class Prescribed(base):
        def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
            seen: Counter[str] = Counter()
            completions = []
            for prompt in map(TOKENIZER.decode, prompt_ids):
                i, seen[prompt] = seen[prompt], seen[prompt] + 1
                ids = TOKENIZER(text_of(PROMPTS.index(prompt), i))["input_ids"]
                completions.append([*ids, TOKENIZER.eos_token_id])
            return completions if issubclass(base, RLOOTrainer) else (completions, None)

    return Prescribed


def digits(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Reward: 1 where more than a third of the completion is digits."""
    return [float(sum(c.isdigit() for c in text) > 0.4 * max(len(text), 1)) for text in completions]


def trainer(
    directory: Path,
    cls: type = GRPOTrainer,
    model: Any = None,
    reward: Any = digits,
    prompts: list[str] = PROMPTS,
    wrap: Any = None,
    peft_config: Any = None,
    make_config: Any = None,
    **settings: Any,
) -> Any:
    """A trainer of `cls`, or of `wrap(cls)`, with 2 prompts x 4 completions a step unless `settings` say otherwise."""
    config = {
        "output_dir": str(directory),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 3,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": DEVICE != "cuda",
        "bf16": False,
        "gradient_checkpointing": False,
        "beta": 0.0,
        "seed": 0,
    } | settings
    make_config = make_config or (RLOOConfig if issubclass(cls, RLOOTrainer) else GRPOConfig)
    built = (wrap or (lambda c: c))(cls)(
        model=model if model is not None else policy(),
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]),
        processing_class=TOKENIZER,
        args=make_config(**config),
        peft_config=peft_config,
    )
    return built


def weights(model: torch.nn.Module) -> torch.Tensor:
    """All parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def history(run: Any, key: str) -> list[float]:
    """A metric at each logged step."""
    return [entry[key] for entry in run.state.log_history if key in entry]


def watching(cls: type) -> type:
    """Keeps, of each training step, the method's batch and objective and the gradient of TRL's log-probabilities."""

    class Watching(cls):
        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            if found[0].requires_grad:
                found[0].retain_grad()
                self.logp = found[0]
            return found

        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self.__dict__.setdefault("pushes", []).append(-self.logp.grad)
            return loss

    return Watching
