"""pass@k against brute force, and evaluation that leaves no trace in the training around it."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.errors import ConfigError, DataError
from entrostat.models.tiny import new_tiny
from entrostat.models.tokenizer import char_tokenizer
from entrostat.tasks.countdown import Countdown
from entrostat.tasks.evaluate import evaluate, named, pass_at_k, summarize
from entrostat.tasks.sampling import sample

TASK = Countdown()
PROBLEMS = TASK.problems("eval", 6, seed=0)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return new_tiny(width=16, layers=1, heads=2, hidden=16), char_tokenizer()


@settings(deadline=None)  # machines that run tests are busy ones
@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(samples, data):
    correct, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    subsets = list(combinations([True] * correct + [False] * (samples - correct), k))
    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)])
def test_impossible_counts_are_refused(samples, correct, k):
    with pytest.raises(ConfigError):
        pass_at_k(samples, correct, k)


def test_partial_scores_count_for_the_average_but_not_as_passed():
    result = summarize([[1.0, 0.5], [0.5, 0.0]], ks=(1, 2))
    assert result.avg_at_k == 0.5
    assert result.pass_at_k == {1: 0.25, 2: 0.5}


def test_problems_are_solved_always_sometimes_or_never():
    result = summarize([[1.0, 1.0], [1.0, 0.0], [0.5, 0.0], [0.0, 0.0]], ks=(1, 2))
    assert (result.always, result.sometimes, result.never) == (0.25, 0.25, 0.5)
    assert named(result) == {
        **{"avg@2": 0.4375, "pass@1": 0.375, "pass@2": 0.5},
        **{"always": 0.25, "sometimes": 0.25, "never": 0.5},
    }
    assert named(result, "train", 0.6)["train/t0.6/pass@2"] == 0.5
    assert named(result, "train", 0) == {"train/greedy": 0.4375}


def test_what_was_right_is_counted_by_problem():
    result = summarize([[1, 0.5, 1], [0, 0, 0], [1, 1, 1]], ks=[1])
    assert result.correct == (2, 0, 3)
    assert sum(result.correct) / 9 == pytest.approx(result.pass_at_k[1])


def test_greedy_needs_one_completion_of_each_problem_and_no_seed(policy):
    first, second = (evaluate(*policy, TASK, PROBLEMS, samples=8, temperature=0, seed=seed) for seed in (1, 2))
    assert first == second
    assert (first.samples, set(first.pass_at_k)) == (1, {1})


def test_evaluating_leaves_randomness_and_modes_alone(policy):
    model, tokenizer = policy
    model.train()
    tokenizer.padding_side = "right"
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = evaluate(model, tokenizer, TASK, PROBLEMS, samples=2, ks=(1, 2), batch_size=5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and tokenizer.padding_side == "right"
    tokenizer.padding_side = "left"
    assert first == evaluate(model, tokenizer, TASK, PROBLEMS, samples=2, ks=(1, 2), batch_size=5, seed=1)
    assert (first.problems, first.samples) == (6, 2)


def test_a_problem_asked_twice_is_counted_twice(policy):
    result = evaluate(*policy, TASK, [PROBLEMS[0]] * 3, samples=2, ks=(2,))
    assert (result.problems, result.samples) == (3, 2)


def test_wrong_requests_are_refused(policy):
    with pytest.raises(ConfigError, match="k is 8"):
        evaluate(*policy, TASK, PROBLEMS, samples=4, ks=(1, 8))
    with pytest.raises(ConfigError, match="samples is 0"):
        evaluate(*policy, TASK, PROBLEMS, samples=0, ks=())
    with pytest.raises(DataError, match="no problems"):
        evaluate(*policy, TASK, [], samples=2, ks=(1,))
    with pytest.raises(DataError, match="no prompts"):
        sample(*policy, [], max_new_tokens=4)
    with pytest.raises(ConfigError, match="temperature is -1"):
        sample(*policy, ["1 2>3:"], max_new_tokens=4, temperature=-1)


def test_masks_stop_at_the_first_eos_and_prompts_are_padded_left(policy):
    model, tokenizer = policy
    torch.manual_seed(0)
    drawn = sample(model, tokenizer, ["1 2>3:", "3 5 8>19:"] * 20, max_new_tokens=12)
    completion_BT = drawn.ids_BS[:, drawn.prompt_length :]
    for ids, mask, text in zip(completion_BT.tolist(), drawn.mask_BT.tolist(), drawn.texts, strict=True):
        length = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
        assert mask == [True] * length + [False] * (len(ids) - length)
        assert text == tokenizer.decode(ids[:length], skip_special_tokens=True)
    assert drawn.attention_BS[0, :4].tolist() == [False, False, False, True]


def test_temperature_zero_is_greedy(policy):
    first, second = (sample(*policy, ["3 5 8>19:"], max_new_tokens=8, temperature=0).texts for _ in range(2))
    assert first == second


def test_sampling_follows_the_whole_distribution(policy):
    """No top-k or top-p hides in the defaults: the frequencies of first tokens match the softmax."""
    model, tokenizer = policy
    torch.manual_seed(0)
    drawn = sample(model, tokenizer, ["3 5 8>19:"] * 4000, max_new_tokens=1, temperature=0.7)
    with torch.no_grad():
        logits_V = model(drawn.ids_BS[:1, : drawn.prompt_length]).logits[0, -1]
    expected_V = (logits_V / 0.7).softmax(-1)
    found_V = torch.bincount(drawn.ids_BS[:, -1], minlength=21) / 4000
    assert (found_V - expected_V).abs().max() < 0.03  # standard error at most 0.008
