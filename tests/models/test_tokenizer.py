"""The character tokenizer: exact, without tokens of its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.models.tokenizer import COUNTDOWN_ALPHABET, char_tokenizer

TOKENIZER = char_tokenizer()


@settings(deadline=None)  # machines that run tests are busy ones
@given(st.text(alphabet=COUNTDOWN_ALPHABET, max_size=60))
def test_text_goes_round_exactly(text):
    ids = TOKENIZER(text).input_ids
    assert len(ids) == len(text)
    assert TOKENIZER.decode(ids) == TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_special_tokens_are_single_and_skipped_on_request():
    ids = TOKENIZER("3*8=24<eos>").input_ids
    assert len(ids) == 7 and ids[-1] == TOKENIZER.eos_token_id
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "3*8=24"
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id) == (0, 1)
    assert TOKENIZER.bos_token is None


def test_batches_are_padded_on_the_left():
    batch = TOKENIZER(["1 2>3:", "3 5 8>19:"], padding=True)
    assert batch.input_ids[0][:3] == [0, 0, 0]
    assert batch.attention_mask[0] == [0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_it_survives_saving(tmp_path):
    from transformers import AutoTokenizer

    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("3 5 8>19:").input_ids == TOKENIZER("3 5 8>19:").input_ids
    assert again.decode(again("3 5 8>19:").input_ids) == "3 5 8>19:"
    assert again.padding_side == "left"


def test_a_character_outside_the_alphabet_raises():
    with pytest.raises(Exception, match="UNK"):
        TOKENIZER("hello")
