"""Completions sampled from a policy without disturbing the training around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from entrostat.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Completions:
    """A batch of sampled completions, one row per prompt.

    `ids_BS` holds prompt and completion tokens (left-padded prompts, so that all completions start at column
    `prompt_length`), `attention_BS` marks the tokens that are not prompt padding, and `mask_BT` (T = S - prompt_length)
    marks completion tokens up to and including the first EOS.
    """

    ids_BS: Tensor
    attention_BS: Tensor
    mask_BT: Tensor
    prompt_length: int
    texts: list[str]


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
) -> Completions:
    """One completion per prompt, drawn from the model's whole distribution: no top-k, no top-p, no penalties.

    Temperature 0 takes the most probable token. Uses torch's current random state; wrap in `undisturbed` to keep it.
    Raises `ConfigError` on a negative temperature and `DataError` on an empty list of prompts.
    """
    from transformers import GenerationConfig

    if temperature < 0:
        raise ConfigError(f"temperature is {temperature}; use 0 (greedy) or more")
    if not prompts:
        raise DataError("there are no prompts to complete; pass at least one")
    encoded = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    prompt_BP, attention_BP = encoded["input_ids"].to(model.device), encoded["attention_mask"].to(model.device)
    eos = tokenizer.eos_token_id
    draws = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=eos, pad_token_id=tokenizer.pad_token_id, **draws
    )
    ids_BS = cast(Any, model).generate(input_ids=prompt_BP, attention_mask=attention_BP, generation_config=config)
    completion_BT = ids_BS[:, prompt_BP.shape[1] :]
    ended_before_BT = (completion_BT == eos).cumsum(1) - (completion_BT == eos).long()
    mask_BT = ended_before_BT == 0
    attention_BS = torch.cat([attention_BP.bool(), mask_BT], dim=1)
    rows = [row[keep] for row, keep in zip(completion_BT, mask_BT, strict=True)]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return Completions(ids_BS, attention_BS, mask_BT, prompt_BP.shape[1], texts)


@contextmanager
def undisturbed(model: PreTrainedModel, seed: int) -> Iterator[None]:
    """Evaluate `model` under a seed of its own; the random state and train/eval mode are as before afterwards."""
    was_training = model.training
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)
