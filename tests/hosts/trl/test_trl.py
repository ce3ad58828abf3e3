"""The TRL adapter against TRL itself: what it measures, what it changes, and what it leaves alone."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from hosts.trl.trl_case import digits, exact_stats, history, policy, trainer, weights
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.errors import ConfigError, HostError
from entrostat.stats import reference_stats

# TRL, transformers and accelerate warn about things that a caller of ours cannot change.
pytestmark = [pytest.mark.filterwarnings("default")]

ALL = ("logp", "entropy", "baseline", "collision")
HOLD = {
    "flow": es.flow(target=1.0),
    "cost": es.flow(target=1.0, shape="cost"),
    "released": es.entropic(target=1.0),
    "bonus": es.skywork(target=3.0, start=5e-3),
}


def controlled(method, **options):
    return lambda cls: es.trl.controlled(cls, method, **options)


class Recorder(GRPOTrainer):
    """Keeps the batches that the loss saw, and counts forward passes of the policy."""

    def _compute_loss(self, model, inputs):
        self.__dict__.setdefault("seen", []).append(
            (dict(inputs), {k: v.clone() for k, v in model.state_dict().items()})
        )
        return super()._compute_loss(model, inputs)


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer])
def test_observing_changes_nothing(tmp_path, cls):
    plain = trainer(tmp_path / "a", cls)
    plain.train()
    watched = trainer(tmp_path / "b", cls, wrap=controlled(es.observe(account=False)))
    watched.train()
    assert torch.equal(weights(plain.model), weights(watched.model))
    assert history(plain, "entropy") == pytest.approx(history(watched, "entropy_control/measured"), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_measures_the_exact_global_mean_under_accumulation(tmp_path, temperature):
    run = trainer(
        tmp_path,
        Recorder,
        wrap=controlled(es.flow(target=1.0)),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        max_steps=2,
        temperature=temperature,
    )
    run.train()
    assert len(run.seen) == 8
    for step in range(2):
        total = count = drift = 0.0
        for inputs, state in run.seen[4 * step : 4 * step + 4]:
            model = policy()
            model.load_state_dict(state)
            stats = exact_stats(model, inputs, temperature)
            mask = inputs["completion_mask"].bool()
            total += stats.entropy[mask].sum().item()
            count += mask.sum().item()
            drift -= (inputs["advantages"].unsqueeze(1) * stats.centered)[mask].sum().item()
        assert history(run, "entropy_control/measured")[step] == pytest.approx(total / count, rel=1e-5)
        assert history(run, "token_entropy/tokens")[step] == count
        assert history(run, "entropy_control/uncontrolled")[step] == pytest.approx(drift / count, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        {"num_iterations": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": 4},
    ],
    ids=["accumulation", "iterations", "off-policy"],
)
@pytest.mark.parametrize("name", HOLD)
def test_one_controller_step_per_optimizer_step(tmp_path, settings, name):
    run = trainer(tmp_path, wrap=controlled(HOLD[name]), max_steps=4, **settings)
    run.train()
    assert run.state.global_step == run.entropy_control.steps == 4
    assert len(history(run, "entropy_control/measured")) == 4
    assert run.entropy_control.state[0].knobs.popitem()[1].steps == 4


def test_evaluation_moves_nothing(tmp_path):
    run = trainer(tmp_path, wrap=controlled(HOLD["flow"]), max_steps=2)
    run.train()
    before = run.entropy_control.state
    run.evaluate(run.train_dataset)
    assert run.entropy_control.state == before
    assert run.entropy_control.steps == 2
    run.entropy_control.step()
    assert run.entropy_control.state == before  # nothing was pending either


def test_no_second_forward_pass(tmp_path):
    counts = []
    for wrap in (None, controlled(HOLD["flow"])):
        run = trainer(tmp_path / str(len(counts)), wrap=wrap, max_steps=1)
        calls = []
        run.model.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        run.train()
        counts.append(len(calls))
    assert counts[0] == counts[1]


class OneStep(GRPOTrainer):
    """Keeps the batch and the gradient of the first loss."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return loss

    def _compute_loss(self, model, inputs):
        self.batch = inputs
        return super()._compute_loss(model, inputs)


def expected_gradient(run, weigh):
    """The gradient of TRL's token mean with each token's loss weighted by `weigh(stats, advantages, mask)`."""
    model, inputs = policy(), run.batch
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    keep = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -keep - 1 : -1]
    stats = reference_stats(logits, inputs["completion_ids"])
    mask = inputs["completion_mask"].float()
    advantages = run.batch_advantages.unsqueeze(1).expand_as(mask)
    loss = -(weigh(stats.detach(), advantages, mask) * advantages * stats.logp * mask).sum() / mask.sum()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_a_weighted_token_weighs_that_much_in_the_gradient(tmp_path, loss_type):
    """`Flow` at a fixed output on its own micro-batch: the gradient is that of the formula, written out."""
    method = es.chain(es.methods.Flow(0.7, scope="micro"))
    run = trainer(tmp_path, OneStep, wrap=controlled(method), max_steps=1, loss_type=loss_type)
    _keep_advantages(run)
    run.train()

    def weigh(stats, advantages, mask):
        gain = advantages * stats.centered * mask
        weight = (1 + 0.7 * gain / (gain.square().sum() / mask.sum()).sqrt()).clamp(0, 5)
        if loss_type == "grpo":  # sequence means instead of the token mean
            weight = weight * mask.sum() / (mask.sum(1, keepdim=True) * len(mask))
        return weight

    assert torch.allclose(run.gradient, expected_gradient(run, weigh), rtol=1e-3, atol=1e-6)


def test_dropped_tokens_leave_the_denominator(tmp_path):
    method = es.clip_b(mu=0.3, scope="micro")
    run = trainer(tmp_path, OneStep, wrap=controlled(method), max_steps=1)
    _keep_advantages(run)
    run.train()

    def weigh(stats, advantages, mask):
        values = stats.discriminator[mask.bool()]
        far = stats.discriminator - values.mean() < -0.3 * values.std(correction=0)
        kept = mask * ~(far & (advantages < 0))
        assert 0 < kept.sum() < mask.sum()
        return kept * mask.sum() / kept.sum()

    assert torch.allclose(run.gradient, expected_gradient(run, weigh), rtol=1e-3, atol=1e-6)


def _keep_advantages(run):
    # The batch is shuffled after scoring, so the advantages are read where the loss reads them: before control.
    control = run.entropy_control.apply

    def apply(surrogate, batch):
        run.batch_advantages = batch.advantages_BT[:, 0].clone()
        return control(surrogate, batch)

    run.entropy_control.apply = apply


def test_entropy_bonus_equals_trl_s_own(tmp_path):
    theirs = trainer(tmp_path / "a", entropy_coef=0.05)
    theirs.train()
    ours = trainer(tmp_path / "b", wrap=controlled(es.entropy_bonus(coef=0.05)))
    ours.train()
    assert torch.allclose(weights(theirs.model), weights(ours.model), atol=1e-6)
    plain = trainer(tmp_path / "c")
    plain.train()
    assert not torch.allclose(weights(theirs.model), weights(plain.model), atol=1e-4)


def test_clip_higher_equals_trl_s_own(tmp_path):
    settings = {"num_iterations": 4, "max_steps": 4, "learning_rate": 2e-2}
    theirs = trainer(tmp_path / "a", epsilon=0.2, epsilon_high=0.5, **settings)
    theirs.train()
    ours = trainer(tmp_path / "b", wrap=controlled(es.clip_higher(0.5, 0.2)), **settings)
    ours.train()
    assert torch.equal(weights(theirs.model), weights(ours.model))
    assert ours.epsilon_high == 0.2  # put back after each loss


@pytest.mark.parametrize("name", HOLD)
def test_rloo_is_controlled_too(tmp_path, name):
    run = trainer(tmp_path / "a", RLOOTrainer, wrap=controlled(HOLD[name]), max_steps=3)
    run.train()
    plain = trainer(tmp_path / "b", RLOOTrainer, max_steps=3)
    plain.train()
    assert run.entropy_control.steps == 3
    # No token of this policy is as likely as EntroPIC selects: nothing may change then.
    acts = any(history(run, "entropy_control/authority")) or name == "bonus"
    assert acts == (name != "released")
    assert torch.allclose(weights(run.model), weights(plain.model), atol=1e-6) != acts
    assert all(math.isfinite(v) for v in history(run, "entropy_control/output"))


@pytest.mark.parametrize("method", [es.nsr(), es.psr(), es.w_reinforce()], ids=lambda m: m.name)
@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer])
def test_methods_that_need_rewards_get_them(tmp_path, method, cls):
    run = trainer(tmp_path, cls, wrap=controlled(method), max_steps=2)
    seen = []
    apply = run.entropy_control.apply

    def spy(surrogate, batch):
        seen.append(batch.rewards_B.clone())
        return apply(surrogate, batch)

    run.entropy_control.apply = spy
    run.train()
    assert torch.stack(seen).mean().item() == pytest.approx(sum(history(run, "reward")) / 2, abs=1e-6)


def test_peft(tmp_path):
    peft = pytest.importorskip("peft")
    run = trainer(
        tmp_path,
        wrap=controlled(HOLD["flow"]),
        peft_config=peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    run.train()
    assert run.entropy_control.steps == 3
    assert history(run, "entropy_control/authority")[-1] > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy"),
        ({"entropy_coef": 0.01}, "entropy_coef"),
        ({"top_entropy_quantile": 0.2}, "top_entropy_quantile"),
        ({"liger_kernel_config": {"fused_linear_cross_entropy": True}}, "liger_kernel_config"),
    ],
)
def test_two_controllers_on_one_signal_are_refused(tmp_path, settings, named):
    with pytest.raises(HostError, match=rf"(?s){named}.*Entrostat"):
        trainer(tmp_path, wrap=controlled(HOLD["flow"]), **settings)


def test_a_class_without_the_seam_is_refused():
    with pytest.raises(HostError, match="GRPOTrainer"):
        es.trl.controlled(dict, es.observe())


class FullLogits(GRPOTrainer):
    """Scores from full logits, as TRL before 1.15 and other trainers do."""

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **_):
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -logits_to_keep - 1 : -1]
        stats = es.token_stats(logits, input_ids[:, -logits_to_keep:], temperature=self.temperature)
        return stats.logp, stats.entropy, None


def test_full_logits_serve_as_well_as_the_fused_head(tmp_path):
    measured = []
    for cls in (GRPOTrainer, FullLogits):
        run = trainer(tmp_path, cls, wrap=controlled(HOLD["flow"]), temperature=0.7)
        run.train()
        measured.append(history(run, "entropy_control/measured") + history(run, "entropy_control/authority"))
    assert measured[0] == pytest.approx(measured[1], rel=1e-3)


def test_a_forward_that_shows_nothing_is_refused_before_the_first_step(tmp_path):
    class Blind(GRPOTrainer):
        def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **_):
            hidden = model.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            logits = (hidden @ model.lm_head.weight.t())[:, -logits_to_keep - 1 : -1]
            stats = es.token_stats(logits, input_ids[:, -logits_to_keep:])
            return stats.logp, stats.entropy, None

    run = trainer(tmp_path, Blind, wrap=controlled(HOLD["flow"]))
    with pytest.raises(es.MissingStatistic, match="neither TRL's fused head nor logits"):
        run.train()
    assert run.state.global_step == 0


def test_a_target_above_log_v_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="log V"):
        trainer(tmp_path, wrap=controlled(es.flow(target=4.0)))


def test_strictly_on_policy_clip_range_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="strictly on-policy"):
        trainer(tmp_path, wrap=controlled(es.clip_higher()))


def test_nan_logits_leave_the_controller_where_it_was(tmp_path):
    """The controller leaves the step out; TRL goes on, until its sampler has no probabilities left to draw from."""
    run = trainer(tmp_path, wrap=controlled(HOLD["flow"]))

    original = run._compute_loss

    def poisoned(model, inputs):
        if run.state.global_step == 1:
            with torch.no_grad():
                model.lm_head.weight[5] = math.nan
        return original(model, inputs)

    run._compute_loss = poisoned
    with pytest.warns(UserWarning, match="measured entropy is nan"), contextlib.suppress(RuntimeError):
        run.train()
    assert run.state.global_step >= 1
    assert run.entropy_control.steps == 1


def test_equal_rewards_change_nothing(tmp_path):
    run = trainer(
        tmp_path, reward=lambda prompts, completions, **_: [1.0] * len(completions), wrap=controlled(HOLD["flow"])
    )
    before = weights(run.model).clone()
    run.train()
    assert torch.equal(before, weights(run.model))
    assert history(run, "entropy_control/authority") == [0.0] * 3


def test_an_empty_batch_moves_nothing(tmp_path):
    # No completion of this policy ends within one token, so every one is masked.
    model = policy()
    with torch.no_grad():
        model.lm_head.weight[1] = -10 * model.lm_head.weight[2:].mean(0)
    run = trainer(
        tmp_path,
        model=model,
        reward=digits,
        wrap=controlled(HOLD["flow"]),
        mask_truncated_completions=True,
        max_completion_length=1,
        max_steps=2,
    )
    run._generate_and_score_completions = _all_masked(run)
    run.train()
    assert run.entropy_control.steps == 0
    assert history(run, "entropy_control/empty_step") == [1.0, 1.0]


def _all_masked(run):
    original = run._generate_and_score_completions

    def masked(inputs):
        output = original(inputs)
        output["completion_mask"] = torch.zeros_like(output["completion_mask"])
        return output

    return masked


def test_the_log_holds_every_metric(tmp_path):
    run = trainer(tmp_path, wrap=controlled(HOLD["flow"]))
    run.train()
    keys = {k for entry in run.state.log_history for k in entry}
    wanted = {"measured", "target", "error", "output", "saturated", "authority", "authority_low", "authority_high"}
    assert {f"entropy_control/{name}" for name in wanted} <= keys
    assert {"token_entropy/mean", "token_entropy/near_certain", "token_entropy/flow_positive_likely"} <= keys
    assert not [k for k in keys if "entropy_control" in k and ("min" in k or "max" in k)]


@pytest.mark.parametrize("updates", [1, 2])
def test_a_batch_is_scored_at_the_temperature_it_was_sampled_at(tmp_path, updates):
    class Watch(Recorder):
        def _generate_single_turn(self, *args, **kwargs):
            self.__dict__.setdefault("sampled", []).append(self.generation_config.temperature)
            return super()._generate_single_turn(*args, **kwargs)

    heating = es.temperature(controller=-10.0, rate=0.02)  # by a fifth each step
    run = trainer(tmp_path, Watch, wrap=controlled(heating), temperature=0.8, max_steps=4, steps_per_generation=updates)
    run.train()
    expected = [0.8 * math.exp(0.2 * (step - step % updates)) for step in range(4)]
    assert run.sampled == pytest.approx(expected[::updates], rel=1e-5)
    for step, (inputs, state) in enumerate(run.seen):
        model = policy()
        model.load_state_dict(state)
        stats = exact_stats(model, inputs, expected[step])
        mask = inputs["completion_mask"].bool()
        assert history(run, "entropy_control/measured")[step] == pytest.approx(
            stats.entropy[mask].mean().item(), rel=1e-5
        )
        if updates == 2 and step % 2 == 0:  # nothing was updated since it was sampled: every ratio is 1
            torch.testing.assert_close(
                inputs["old_per_token_logps"][mask].double(), stats.logp[mask], atol=1e-5, rtol=1e-5
            )


def test_rloo_is_sampled_at_the_controlled_temperature(tmp_path):
    run = trainer(tmp_path, RLOOTrainer, wrap=controlled(es.temperature(controller=-10.0, rate=0.02)))
    run.train()
    assert history(run, "entropy_control/temperature") == pytest.approx([math.exp(0.2 * step) for step in range(3)])
    assert run.generation_config.temperature == run.temperature == pytest.approx(math.exp(0.4))


def test_a_moving_temperature_cannot_be_predicted_beside():
    with pytest.raises(HostError, match="predict_every"):
        es.trl.controlled(GRPOTrainer, es.temperature(1.0), predict_every=5)
