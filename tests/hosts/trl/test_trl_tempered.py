"""Groups of one batch at temperatures of their own: sampled so, scored at the run's, and left out of what is measured."""

from __future__ import annotations

import pytest
import torch
from hosts.trl.trl_case import history, policy, trainer, watching
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.methods.denominators import kept_advantages
from entrostat.stats.reference import reference_stats
from entrostat.types import Rollouts, TokenBatch

pytestmark = [pytest.mark.filterwarnings("default")]
RUN = 0.8  # the run's own temperature


def scope(**options):
    return es.scope(**{"target": 3.0, "alpha": 0.5, "threshold": 1.0, "limits": (0.5, 1.5)} | options)


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


def recording(cls):
    """Keeps what sampling drew from at its first token, the model then, and the rewards."""

    class Recording(watching(cls)):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            drawn, draw = [], torch.multinomial

            def spy(probs, *rest, **named):
                drawn.append(probs.clone())
                return draw(probs, *rest, **named)

            torch.multinomial = spy
            try:
                found = super()._generate_single_turn(prompt_ids, *args, **kwargs)
            finally:
                torch.multinomial = draw
            state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.__dict__.setdefault("sampled", []).append((drawn[0], prompt_ids, state))
            return found

        def _calculate_rewards(self, *args, **kwargs):
            found = super()._calculate_rewards(*args, **kwargs)
            self.__dict__.setdefault("rewards", []).append(found.sum(1))
            return found

    return Recording


def model_of(state):
    model = policy()
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer])
def test_each_group_is_sampled_at_its_own_temperature(tmp_path, cls):
    run = trainer(tmp_path, recording(cls), wrap=controlled(scope()), temperature=RUN, max_steps=2)
    run.train()
    assert history(run, "entropy_control/scope/temperature") == [1.5, 1.5]  # far below the target
    for (drawn, prompts, state), hot in zip(
        run.sampled, (1.0, 1.5), strict=True
    ):  # nothing was measured before the first
        for row, factor in enumerate([1.0] * 4 + [hot] * 4):
            with torch.no_grad():
                logits = model_of(state)(input_ids=torch.tensor([prompts[row]])).logits[0, -1]
            torch.testing.assert_close(drawn[row], torch.softmax(logits / (RUN * factor), -1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}])
def test_trl_measures_and_pushes_as_a_loop_of_ones_own(tmp_path, settings):
    """The same batch and method, in a loop that scores it by the written formulas in fp64."""
    settings = {"num_iterations": 2, "max_steps": 4, "loss_type": "grpo", "learning_rate": 3e-2} | settings
    run = trainer(tmp_path, recording(GRPOTrainer), wrap=controlled(scope()), temperature=RUN, **settings)
    kept, apply, outputs, generate = [], run.entropy_control.apply, [], run._generate_and_score_completions

    def spy(surrogate, batch):
        kept.append(batch)
        return apply(surrogate, batch)

    def keeping(inputs):
        outputs.append(generate(inputs))
        return dict(outputs[-1])

    run.entropy_control.apply, run._generate_and_score_completions = spy, keeping
    run.train()
    measured = history(run, "entropy_control/measured")
    control = EntropyControl(scope())
    each = len(kept) // 4
    for update in range(4):
        output, (_, _, state) = outputs[update // 2], run.sampled[update // 2]
        micro = kept[each * update : each * (update + 1)]
        if update % 2 == 0:
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
            attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
            columns = output["completion_ids"].shape[1]
            with torch.no_grad():
                logits = model_of(state)(input_ids=ids, attention_mask=attention).logits[:, -columns - 1 : -1].double()
            mask, rewards = output["completion_mask"].bool(), run.rewards[update // 2].double()
            factors = torch.tensor(control.group_temperatures(2)).repeat_interleave(4)
            stats = reference_stats(logits, output["completion_ids"], RUN)
            torch.testing.assert_close(
                output["old_per_token_logps"].double()[mask], stats.logp[mask], atol=1e-5, rtol=1e-5
            )
            groups = torch.arange(8) // 4
            by_group = rewards.view(2, 4)
            plain = (by_group - by_group.mean(1, keepdim=True)) / (by_group.std(1, keepdim=True) + 1e-4)
            rollouts = control.score(Rollouts(plain.flatten(), rewards, groups, mask.sum(1)))
            advantages = kept_advantages(rollouts, "sequence")
            torch.testing.assert_close(output["advantages"].double(), advantages, atol=1e-5, rtol=1e-5)
            batch = TokenBatch(stats, advantages, mask, None, rewards, groups, tempered_B=factors)
            control.apply(es.grpo(batch), batch)
            found = control.step()["entropy_control/measured"]
            assert found == pytest.approx(stats.entropy[mask & (factors == 1).unsqueeze(1)].mean().item(), rel=1e-9)
            assert measured[update] == pytest.approx(found, rel=1e-5)
        else:
            seen = [(part.stats.entropy[part.measured], part) for part in micro]
            exact = torch.cat([entropy for entropy, _ in seen]).double().mean().item()
            assert measured[update] == pytest.approx(exact, rel=1e-5)
            control.observe(micro[0])  # the state moves with the run's, by its measurement
            for part in micro[1:]:
                control.observe(part)
            control.step()
        assert sum(int((part.tempered_B != 1).sum()) for part in micro) == (4 if update > 1 else 0)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("use_vllm", True, "vLLM"),
        ("use_transformers_continuous_batching", True, "continuous"),
        ("tools", [len], "tools"),
    ],
)
def test_what_generates_otherwise_is_refused_at_construction(tmp_path, monkeypatch, setting, value, says):
    class Other(GRPOTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            setattr(self, setting, value)

    with pytest.raises(
        HostError, match=rf"'scope' needs a change of group_temperatures, which .* cannot express: .*{says}"
    ):
        trainer(tmp_path, Other, wrap=controlled(scope()))


def test_a_generation_that_the_trainers_model_does_not_see_is_refused(tmp_path):
    class Elsewhere(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            return [[5, 6] for _ in prompt_ids], None

    with pytest.raises(HostError, match="without the trainer's model"):
        trainer(tmp_path, Elsewhere, wrap=controlled(scope())).train()
