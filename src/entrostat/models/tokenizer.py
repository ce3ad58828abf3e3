"""A character tokenizer: one token per character, built in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
COUNTDOWN_ALPHABET = "0123456789+-*/=;>: "


def char_tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token per character of countdown's alphabet, after `<pad>` (id 0) and `<eos>` (id 1).

    Pads on the left, adds no token of its own when encoding, and decodes to exactly the text that was encoded. There is
    no unknown token, since a policy could sample it: encoding a character outside the alphabet raises.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([PAD, EOS, *COUNTDOWN_ALPHABET])}
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
