"""The driver beside a critic that is trained alone at first, and beside weights and rejections of verl's rollout correction."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transfer_queue as tq
from driver_case import FLOW, clean, got, put, queue, random_rows, trainer  # noqa: F401
from verl.trainer.ppo.core_algos import agg_loss

from entrostat.hosts.verl.batch import control_batch
from entrostat.hosts.verl.loss_modes import MODES, weights_of

CORRECTION = "algorithm.rollout_correction"
LOSS = "actor_rollout_ref.actor.policy_loss.loss_mode"
ACTOR = "actor_rollout_ref.actor"
CUT = (f"{ACTOR}.ppo_mini_batch_size=2", f"{ACTOR}.ppo_micro_batch_size_per_gpu=8")
"""Eight rows in one micro-batch."""


def shifted_rows(seed=0):
    """Rows whose sampler was another engine, with probabilities of its own."""
    rows, keys = random_rows(seed)
    draw = torch.Generator().manual_seed(seed)
    for each in rows:
        each["rollout_log_probs"] = each["rollout_log_probs"] + 0.5 * torch.randn(
            len(each["responses"]), generator=draw
        )
    return rows, keys


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_controller_steps_where_the_actor_is_updated(warmup):
    """In verl's own step, whose other parts are not at hand: what it decides is whether it updates the actor."""
    control = trainer(*FLOW, f"trainer.critic_warmup={warmup}")
    control.use_critic = control.use_reference_policy = False
    control.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=[])
    control.on_sample_begin = control.on_sample_end = lambda: None
    control._balance_batch = control._compute_old_log_prob = lambda batch, metrics: batch
    updated, stepped = [], []
    control._update_actor = lambda batch, metrics: updated.append(control.global_steps) or batch
    for control.global_steps in range(1, 6):
        rows, keys = random_rows(control.global_steps)
        control.replay_buffer = SimpleNamespace(sample=lambda _=(rows, keys), **__: (put(*_), {}))
        before, metrics = control.entropy_control.state, {}
        ours, plain = got(control._step_once(metrics, {}, 8), "advantages", "returns")
        tq.kv_clear(keys=keys, partition_id="train")
        if control.entropy_control.state != before:
            stepped.append(control.global_steps)
            assert "entropy_control/measured" in metrics and not torch.equal(ours, plain)
        else:
            assert metrics["entropy_control/no_update"] == 1 and metrics["token_entropy/mean"] > 0
            assert torch.equal(ours, plain)
    assert stepped == updated == list(range(max(warmup, 1), 6))
    assert control.entropy_control.steps == len(updated)


def test_the_reward_stage_counts_the_steps_of_the_actor(monkeypatch):
    control = trainer("+entrostat.method.name=pass_at_k", "+entrostat.method.k=2", "trainer.critic_warmup=3")
    control.total_training_steps, told = 10, []
    score = control.entropy_control.score
    monkeypatch.setattr(control.entropy_control, "score", lambda r: told.append((r.step, r.total_steps)) or score(r))
    for control.global_steps in (2, 3, 10):
        rows, keys = random_rows(control.global_steps)
        control._compute_advantage(put(rows, keys), {})
        tq.kv_clear(keys=keys, partition_id="train")
    assert told == [(0, 8), (7, 8)]


@pytest.mark.parametrize("mode", ["vanilla", "geo_mean"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_what_is_foreseen_has_the_rollout_weights(level, mode):
    settings = "+entrostat.method=observe", f"{CORRECTION}.rollout_is={level}", f"{LOSS}={mode}"
    control, metrics = trainer(*settings, *CUT), {}
    control.actor_rollout_wg = SimpleNamespace(_dispatch_info={"actor": [0]})
    batch = control._compute_advantage(put(*shifted_rows()), metrics)
    weights, mask = got(batch, "rollout_is_weights", "response_mask")
    found = control._read(batch)[0]
    assert torch.equal(found.host_weight_BT, weights_of(MODES[mode], weights, mask))
    flow = -(found.host_weight_BT * found.advantages_BT * found.stats.centered * mask).sum(1)
    mean = (flow / mask.sum(1)).mean() if mode == "geo_mean" else flow.sum() / mask.sum()
    assert weights[mask.bool()].std() > 0.1
    assert metrics["entropy_control/predicted"] == pytest.approx(float(mean), rel=1e-5)


@pytest.mark.parametrize(("ranks", "size", "factor"), [([0], 8, 1), ([0], 2, 4), ([0, 0, 1, 1], 2, 2), ([0, 1], 4, 1)])
def test_means_of_micro_batches_add_up(ranks, size, factor):
    control = trainer(
        "+entrostat.method=observe", f"{LOSS}=geo_mean", *CUT, f"{ACTOR}.ppo_micro_batch_size_per_gpu={size}"
    )
    control.actor_rollout_wg, metrics = SimpleNamespace(_dispatch_info={"actor": ranks}), {}
    batch = control._compute_advantage(put(*random_rows()), metrics)
    found = control._read(batch)[0]
    assert found.host_weight_BT.unique().tolist() == [factor]
    flow = -(found.advantages_BT * found.stats.centered * found.mask).sum(1) / found.mask.sum(1)
    assert metrics["entropy_control/predicted"] == pytest.approx(factor * float(flow.mean()), rel=1e-5)


TOKEN_WEIGHTS = f"{CORRECTION}.rollout_is=token"
REJECTION = (f"{CORRECTION}.rollout_rs=token_k1", f"{CORRECTION}.rollout_rs_threshold=0.7_1.4")


def test_rejected_tokens_stay_in_the_number_that_the_loss_divides_by():
    control = trainer("+entrostat.method=observe", *REJECTION)
    rows, keys = shifted_rows()
    batch = control._compute_advantage(put(rows, keys), {})
    (mask,) = got(batch, "response_mask")
    found, sampled = control._read(batch)[0], sum(len(each["responses"]) for each in rows)
    assert int(found.divisors.tokens) == sampled > int(mask.sum()) > 0
    flow = -(found.advantages_BT * found.stats.centered * mask).sum() / sampled
    update = control_batch(control.entropy_control, found, "token-mean", (0.2, 0.2, 3.0))
    assert update.metrics["entropy_control/predicted"] == pytest.approx(float(flow), rel=1e-5)


@pytest.mark.parametrize(
    "correction",
    [(TOKEN_WEIGHTS,), (f"{CORRECTION}.rollout_is=sequence",), REJECTION, (TOKEN_WEIGHTS, *REJECTION)],
    ids=["token weights", "sequence weights", "rejection", "both"],
)
@pytest.mark.parametrize("warmup", [0, 3])
def test_the_entropy_is_that_of_all_sampled_tokens_whatever_the_loss_makes_of_them(correction, warmup):
    """Verl's own figure, taken before its correction, and that of a run without one."""
    control, metrics = trainer("+entrostat.method=observe", f"trainer.critic_warmup={warmup}", *correction), {}
    rows, keys = shifted_rows()
    for each in rows:
        each["response_mask"][1] = each["loss_mask"][1] = 0  # as the output of a tool would be
    batch = put(rows, keys)
    entropy, before = got(batch, "entropy", "response_mask")
    own = float(agg_loss(entropy, before, control.config.actor_rollout_ref.actor.loss_agg_mode))
    after = got(control._compute_advantage(batch, metrics), "response_mask")[0]
    assert (after.sum() < before.sum()) == ("rollout_rs" in str(correction))
    assert metrics["token_entropy/mean"] == pytest.approx(own, rel=1e-6)
    assert warmup or metrics["entropy_control/measured"] == metrics["token_entropy/mean"]
    assert metrics["token_entropy/tokens"] == int(after.sum())


def test_a_batch_that_is_rejected_whole_takes_no_step():
    control, metrics = trainer(*FLOW, REJECTION[0], f"{CORRECTION}.rollout_rs_threshold=7.5_9.5"), {}
    batch = control._compute_advantage(put(*shifted_rows()), metrics)
    assert not any(each.any() for each in got(batch, "response_mask", "advantages"))
    assert metrics["entropy_control/empty_step"] == 1 and control.entropy_control.steps == 0


def test_rejected_rows_are_completions_of_their_prompt():
    """Pass@2 of a prompt with one right answer of four, of which a wrong one is rejected: worth as without the rejection."""
    control = trainer(
        "+entrostat.method.name=pass_at_k",
        "+entrostat.method.k=2",
        f"{CORRECTION}.rollout_rs=seq_mean_k1",
        f"{CORRECTION}.rollout_rs_threshold=0.5_2.0",
    )
    rows, keys = random_rows(groups=1, size=4)
    for index, each in enumerate(rows):
        each["rm_scores"] = torch.zeros_like(each["rm_scores"])
        each["rm_scores"][-1] = float(index == 2)
    rows[0]["rollout_log_probs"] = rows[0]["rollout_log_probs"] - 3
    batch = control._compute_advantage(put(rows, keys), {})
    advantages, mask = got(batch, "advantages", "response_mask")
    worth = torch.tensor([-1 / 3, -1 / 3, 1.0, -1 / 3]).unsqueeze(1)
    assert mask.any(1).tolist() == [False, True, True, True]
    assert torch.allclose(advantages, worth * mask, atol=1e-4)


def test_a_loss_with_a_mean_of_its_own_is_foreseen_with_that():
    control = trainer(*FLOW, f"{LOSS}=sapo")
    rows, keys = random_rows()
    metrics = {}
    batch = control._compute_advantage(put(rows, keys), metrics)
    whole = control._read(batch)[0]
    flow = -(whole.advantages_BT * whole.stats.centered * whole.mask).sum(1) / whole.mask.sum(1)
    assert metrics["entropy_control/predicted"] == pytest.approx(float(flow.mean()), rel=1e-5)
