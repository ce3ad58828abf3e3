"""The tiny policies: Llamas of up to a million parameters that play countdown, small enough for one CPU core.

Their weights ship with the package. They come out of `entrostat.models.warmstart`, which stops where reinforcement
learning should begin: the format is learned, the target is mostly missed (`tiny`) or all but always (`tiny-hard`).
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from entrostat.errors import DataError
from entrostat.models.tokenizer import char_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WEIGHTS = {"tiny": "tiny-countdown.safetensors", "tiny-hard": "tiny-countdown-hard.safetensors"}


CONTEXT = 256
"""Tokens that the shipped policies read at most."""


def new_tiny(
    *, width: int = 160, layers: int = 3, heads: int = 4, hidden: int = 448, vocabulary: int = 21
) -> LlamaForCausalLM:
    """An untrained policy in fp32, initialized from torch's current random state."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        attention_dropout=0.0,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


def load_tiny(path: str | Path | None = None, name: str = "tiny") -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The shipped policy of that name in fp32 with its tokenizer, or the one that the warm-start script wrote to `path`.

    Raises `DataError` when the file is not one of the warm-start script's.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(str(files("entrostat.models") / "weights" / WEIGHTS[name])) if path is None else Path(path)
    try:
        with safe_open(source, framework="pt") as stored:
            shape = json.loads((stored.metadata() or {})["shape"])
            weights = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(
            f"{source} holds no tiny policy ({error!r}); "
            f"write one with `python -m entrostat.models.warmstart --out {source}`"
        ) from error
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced at once: spare the caller's randomness
        model = new_tiny(**shape)
    model.load_state_dict(weights)
    return model.eval(), char_tokenizer()
