"""Losses other than TRL's own, and what each of TRL's makes of a clip range: controlled right, or refused with the reason."""

from __future__ import annotations

import pytest
import torch
from hosts.trl.trl_case import history, policy, trainer, weights
from trl import GRPOTrainer, RLOOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

import entrostat as es
from entrostat.errors import HostError
from entrostat.hosts.trl.loss import LOSSES, scale_gradient, weigh

pytestmark = [pytest.mark.filterwarnings("default")]


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


class OldStyle(GRPOTrainer):
    """TRL's loss as it was written in 2025: advantages of shape (B,) and nothing else."""

    def _compute_loss(self, model, inputs):
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        mask = inputs["completion_mask"]
        logp = self._get_per_token_logps_and_entropies(model, ids, attention, mask.size(1), compute_entropy=True)[0]
        old = inputs.get("old_per_token_logps")
        ratio = torch.exp(logp - (logp.detach() if old is None else old))
        advantages = inputs["advantages"].unsqueeze(1)
        loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        return (loss * mask).sum() / mask.sum()


def gradient_norms(tmp_path, cls, method, **settings):
    run = trainer(tmp_path, cls, wrap=None if method is None else controlled(method), max_steps=1, **settings)
    run.train()
    return history(run, "grad_norm")[0], history(run, "loss")[0]


@pytest.mark.parametrize("length", [8, 5], ids=["B equals T", "B differs from T"])
@pytest.mark.parametrize("cls", [GMPOTrainer, OldStyle], ids=lambda c: c.__name__)
def test_a_loss_of_its_own_is_weighted_by_the_gradient(tmp_path, cls, length):
    settings = {"max_completion_length": length}
    if cls is GMPOTrainer:
        settings["make_config"] = GMPOConfig
    plain = gradient_norms(tmp_path, cls, None, **settings)
    assert plain[0] > 1
    # Flow's first output is 0: nothing is weighted yet.
    for method in (es.observe(), es.flow(0.5)):
        assert gradient_norms(tmp_path, cls, method, **settings) == pytest.approx(plain, rel=1e-5)
    weighted = gradient_norms(tmp_path, cls, es.chain(es.methods.Flow(0.7, scope="micro")), **settings)
    assert 0.2 * plain[0] < weighted[0] < 5 * plain[0]
    assert weighted[0] != pytest.approx(plain[0], rel=1e-3)


def test_a_weight_scales_the_gradient_and_leaves_the_value():
    logp = torch.tensor([[-0.1, -2.3, -17.0]], requires_grad=True)
    weight = torch.tensor([[0.3, 1.0, 2.5]])
    scaled = scale_gradient(logp, weight)
    assert torch.equal(scaled, logp)
    scaled.sum().backward()
    assert torch.equal(logp.grad, weight)


def test_a_weight_leaves_the_kl_penalty_alone():
    torch.manual_seed(0)
    logp = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    reference, weight = torch.randn_like(logp).detach(), torch.rand_like(logp).detach()

    def kl(ref, lp):
        return (torch.exp(ref - lp) - (ref - lp) - 1).sum()

    (expected,) = torch.autograd.grad(kl(reference, logp) + (weight * logp).sum(), logp)
    inputs = {"ref_per_token_logps": reference}
    weighted = weigh(logp, weight, inputs)
    assert torch.equal(inputs["ref_per_token_logps"], reference)
    (found,) = torch.autograd.grad(kl(inputs["ref_per_token_logps"], weighted) + weighted.sum(), logp)
    torch.testing.assert_close(found, expected)


class Clips(GRPOTrainer):
    """Keeps the epsilons that TRL's loss reads."""

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        return found

    def get_off_policy_mask(self, *args, **kwargs):
        self.seen = self.epsilon_low, self.epsilon_high
        return super().get_off_policy_mask(*args, **kwargs)


def test_clip_higher_under_cispo_names_the_largest_ratio_itself(tmp_path):
    settings = {"loss_type": "cispo", "num_iterations": 2, "off_policy_mask_threshold": 100.0, "max_steps": 2}
    with pytest.warns(UserWarning, match="has no eps_low"):
        run = trainer(tmp_path, Clips, wrap=controlled(es.clip_higher(0.28, 0.2)), **settings)
    run.train()
    assert run.seen[1] == pytest.approx(1.28)
    theirs = trainer(tmp_path, Clips, epsilon_high=1.28, **settings)
    theirs.train()
    torch.testing.assert_close(weights(theirs.model), weights(run.model), rtol=0, atol=1e-7)


@pytest.mark.parametrize("loss_type", ["sapo", "vespo"])
def test_a_loss_without_a_clip_range_refuses_to_have_it_changed(tmp_path, loss_type):
    with pytest.raises(HostError, match=f"(?s)clip_higher.*{loss_type}.*clips nothing"):
        trainer(tmp_path, wrap=controlled(es.clip_higher()), loss_type=loss_type)


def test_an_unknown_loss_must_say_what_its_clip_range_means(tmp_path):
    with pytest.raises(HostError, match=r"(?s)OldStyle.*entropy_clip"):
        trainer(tmp_path, OldStyle, wrap=controlled(es.clip_higher()), num_iterations=2)

    class Declared(OldStyle):
        entropy_clip = "ratio"

    trainer(tmp_path, Declared, wrap=controlled(es.clip_higher()), num_iterations=2)


def test_every_loss_type_of_trl_is_declared():
    import inspect

    from trl.trainer import grpo_trainer

    source = inspect.getsource(grpo_trainer.GRPOTrainer._compute_loss)
    for name in LOSSES.keys() - {"rloo", "gmpo"}:
        assert f'"{name}"' in source


def test_a_kl_penalty_times_the_ratio_cannot_be_told_from_the_weight(tmp_path):
    policy().save_pretrained(tmp_path / "model")
    settings = {"beta": 0.1, "use_bias_correction_kl": True}
    with pytest.raises(HostError, match="use_bias_correction_kl"):
        trainer(tmp_path, model=str(tmp_path / "model"), wrap=controlled(es.flow(1.0)), **settings)


class Own(GRPOTrainer):
    """Computes its loss itself, as Unsloth's replacement does."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = inputs["completion_mask"]
        logits = model(input_ids=ids).logits[:, -mask.size(1) - 1 : -1]
        logp = logits.log_softmax(-1).gather(-1, inputs["completion_ids"].unsqueeze(-1))[..., 0]
        return -((logp - logp.detach()).exp() * inputs["advantages"][:, None] * mask).sum() / mask.sum()


@pytest.mark.parametrize("method", [es.hold(0.5), es.observe()], ids=lambda m: m.name)
def test_a_loss_that_control_never_reaches_ends_the_run_after_one_step(tmp_path, method):
    run = trainer(tmp_path, Own, wrap=controlled(method))
    with pytest.raises(HostError, match=r"(?s)ControlledOwn.*without calling _compute_loss"):
        run.train()
    assert run.state.global_step == 1


def test_what_is_no_class_to_control_is_refused(tmp_path):
    with pytest.raises(HostError, match=r"string 'GRPOTrainer'.*import the class"):
        es.trl.controlled("GRPOTrainer", es.observe())
    with pytest.raises(HostError, match="an instance of GRPOTrainer"):
        es.trl.controlled(trainer(tmp_path), es.observe())
    once = es.trl.controlled(RLOOTrainer, es.flow(0.5))
    with pytest.raises(HostError, match=r"is already controlled, by 'flow'.*es\.chain"):
        es.trl.controlled(once, es.observe())


def test_prompt_learning_is_refused_before_the_first_step(tmp_path):
    peft = pytest.importorskip("peft")
    adapter = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(HostError, match=r"PromptTuningConfig.*LoRA"):
        trainer(tmp_path, wrap=controlled(es.observe()), peft_config=adapter)


@pytest.mark.parametrize(
    "settings",
    [{"entropy_coef": 0.01}, {"use_adaptive_entropy": True, "entropy_target": 2.0}, {"top_entropy_quantile": 0.2}],
    ids=str,
)
def test_a_rival_can_be_measured(tmp_path, settings):
    run = trainer(tmp_path, wrap=controlled(es.observe()), max_steps=2, **settings)
    run.train()
    assert len(history(run, "entropy_control/measured")) == 2


class SwiftLike(GRPOTrainer):
    """The signatures of ms-swift 4.6, whose batch is an object of its own."""

    def _get_per_token_logps_and_entropies(
        self, model, model_inputs, grpo_batch, compute_entropy=False, origin_data=None
    ):
        raise NotImplementedError

    def _compute_loss(self, model, model_inputs, grpo_batch, origin_data=None):
        raise NotImplementedError


class _UnslothGRPOTrainer(GRPOTrainer):
    """The name under which Unsloth 2026.10 compiles its replacement."""


def test_trainers_of_other_tools_are_refused_with_the_reason():
    with pytest.raises(HostError, match=r"(?s)SwiftLike.*model_inputs.*ms-swift"):
        es.trl.controlled(SwiftLike, es.observe())
    with pytest.raises(HostError, match=r"(?s)_UnslothGRPOTrainer is Unsloth's.*compute_loss"):
        es.trl.controlled(_UnslothGRPOTrainer, es.observe())


def test_two_values_for_one_end_of_the_clip_are_refused(tmp_path):
    with pytest.raises(HostError, match=r"TRL's epsilon_high=0\.3 would have no effect: 'clip_range' .* to 0\.28"):
        trainer(tmp_path, wrap=controlled(es.clip_higher()), epsilon_high=0.3, num_iterations=2)
