"""A character tokenizer: one token per character, built in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entrostat.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
COUNTDOWN_ALPHABET = "0123456789+-*/=;>: "


def char_tokenizer(alphabet: str = COUNTDOWN_ALPHABET) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token per character of `alphabet`, after `<pad>` (id 0) and `<eos>` (id 1).

    Pads on the left, adds no token of its own when encoding, and decodes to exactly the text that was encoded. There is
    no unknown token, since a policy could sample it: encoding a character outside the alphabet raises.

    Raises `ConfigError` for an alphabet that is empty or repeats a character.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ConfigError(f"alphabet is {alphabet!r}; give at least one character and each only once")
    vocabulary = {token: index for index, token in enumerate([PAD, EOS, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
