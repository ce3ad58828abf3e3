"""The logged `predicted` is what TRL's own backward pass does to the entropy, by whatever number its loss divides."""

from __future__ import annotations

import pytest
from hosts.trl.test_trl_stages import controlled
from hosts.trl.trl_case import history, prescribed, trainer, watching

import entrostat as es

pytestmark = [pytest.mark.filterwarnings("default")]

LENGTHS = prescribed(lambda prompt, sample: "12+3=456-78*9"[: 1 + (3 * sample + 2 * prompt + prompt // 2) % 7])
"""Completions of 1 to 7 characters: those of more than 5 are longer than what is allowed, with the end."""


def by_length(prompts, completions, **_):
    return [float(len(c) % 3 == 0) for c in completions]


CASES = {
    "bnpo": {"loss_type": "bnpo"},
    "bnpo, truncated": {"loss_type": "bnpo", "mask_truncated_completions": True},
    "grpo, truncated": {"loss_type": "grpo", "mask_truncated_completions": True},
    "sapo, truncated": {"loss_type": "sapo", "mask_truncated_completions": True},
    "dapo": {"loss_type": "dapo"},
    "dapo, several steps of a generation": {"loss_type": "dapo", "steps_per_generation": 8},
    "cispo, several steps of a generation": {"loss_type": "cispo", "steps_per_generation": 8, "epsilon_high": 1.2},
}
METHODS = {
    "observe": es.observe(),
    "weights": es.chain(es.methods.Flow(0.5, scope="micro")),
    "drops": es.clip_b(mu=0.3, scope="micro"),
    "a term of each micro-batch": es.entropic(target=1.0, kp=5.0, select="all"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", CASES)
def test_predicted_is_what_the_backward_pass_does(tmp_path, name, method):
    class Truncating(LENGTHS):
        def _generate_single_turn(self, *args, **kwargs):
            ids, rest = super()._generate_single_turn(*args, **kwargs)
            return [each[: self.max_completion_length] for each in ids], rest

    run = trainer(
        tmp_path,
        watching(Truncating),
        reward=by_length,
        wrap=controlled(method),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_completion_length=5,
        max_steps=2,
        learning_rate=1e-2,
        **CASES[name],
    )
    seen, apply = [], run.entropy_control.apply

    def spy(surrogate, batch):
        seen.append(batch)
        return apply(surrogate, batch)

    run.entropy_control.apply = spy
    run.train()
    lengths = [int(batch.mask.sum()) for batch in seen]
    assert len(seen) == 8 and len(set(lengths)) > 1
    assert any(not batch.mask.any(1).all() for batch in seen) == ("truncated" in name)
    steps = sum(lengths[:4]), sum(lengths[4:])
    assert steps[0] != steps[1] or "several steps" not in name, lengths
    changes = [
        -(push * batch.stats.detach().centered * batch.mask).sum() for push, batch in zip(run.pushes, seen, strict=True)
    ]
    for step, logged in enumerate(history(run, "entropy_control/predicted")):
        assert logged == pytest.approx(float(sum(changes[4 * step : 4 * step + 4])), rel=1e-3, abs=1e-6)
