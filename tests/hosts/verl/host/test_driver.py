"""verl's real trainer class against a real transfer queue, without workers: what the driver reads, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transfer_queue as tq
from driver_case import FLOW, NAMES, clean, got, put, queue, random_rows, row, trainer  # noqa: F401
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from entrostat.control import Cosine, Initial
from entrostat.errors import ConfigError, HostError, MissingStatistic, StateError
from entrostat.hosts.verl import fields
from entrostat.hosts.verl.batch import control_batch
from entrostat.lab import group_advantages
from entrostat.report.tokens import read_tokens
from entrostat.types import TokenBatch, TokenStats

PARITY = json.loads((Path(__file__).parents[1] / "parity.json").read_text())


def options(method):
    """A method's settings as overrides of verl's command line."""
    return [f"+entrostat.method.{key}={value}" for key, value in method.items()]


@pytest.mark.parametrize("name", ["flow", "entropic", "clip_b", "clip_v"])
def test_weights_are_those_of_the_trl_adapter(name):
    """The batch that TRL's trainer had, through verl's trainer and queue: the same weights to 1e-5, step by step."""
    case = PARITY[name]
    control = trainer(*options(case["method"]), "actor_rollout_ref.rollout.n=4")
    mask, rewards = torch.tensor(case["mask"]).bool(), case["rewards"]
    # The two libraries divide by a standard deviation with different small constants. As two of the four answers in every
    # group are right, that is one factor, which a weight does not see.
    size = float(group_advantages(torch.tensor([[1.0, 1.0, 0.0, 0.0]])).max())
    sign = torch.tensor(rewards).unsqueeze(1) * 2 - 1
    for step, push in enumerate(case["push"]):
        rows, keys = [], []
        for i, (reward, group) in enumerate(zip(rewards, case["groups"], strict=True)):
            stats = {n: torch.tensor(v[i])[mask[i]] for n, v in case["stats"].items() if n in NAMES}
            uid = f"s{step}g{group}"
            rows.append(row(uid, stats, reward))
            keys.append(f"{uid}_{i}_0")
        batch = control._compute_advantage(put(rows, keys), {})
        ours, plain = got(batch, "advantages", "returns")
        inside = mask[:, : ours.shape[1]]
        expected = (torch.tensor(push) / size / sign)[:, : ours.shape[1]]
        assert torch.where(inside, ours / plain - expected, 0).abs().max() < 1e-5


@pytest.mark.parametrize("gap", [False, True], ids=["whole", "tool output"])
def test_what_is_written_is_the_arithmetic_of_what_was_read(gap):
    control = trainer(*FLOW, *("+entrostat.method.kp=2",))
    twin = trainer(*FLOW, *("+entrostat.method.kp=2",)).entropy_control
    for seed in range(3):
        rows, keys = random_rows(seed, gap=gap)
        batch = put(rows, keys)
        metrics = {}
        after = control._compute_advantage(batch, metrics)
        assert after.keys == keys
        ours, plain, mask = got(after, "advantages", "returns", "response_mask")
        stats = {n: torch.zeros(mask.shape) for n in NAMES}
        for i, each in enumerate(rows):
            for n in NAMES:
                stats[n][i, : len(each["responses"])] = each[fields.STATISTIC.format(n)][2:-1]
        prompts = torch.tensor([int(key[1]) for key in keys])
        whole = TokenBatch(TokenStats(**stats), plain, mask, groups_B=prompts)
        expected = control_batch(twin, whole, "token-mean", (0.2, 0.2, 3.0))
        assert torch.equal(ours, expected.advantages_BT)
        assert twin.state == control.entropy_control.state
        assert expected.metrics.items() <= metrics.items()
    assert control.entropy_control.steps == 3


def test_padding_rows_change_nothing():
    plain, padded = trainer(*FLOW), trainer(*FLOW)
    rows, keys = random_rows()
    one = got(plain._compute_advantage(put(rows, keys), {}), "advantages")[0]
    tq.kv_clear(keys=keys, partition_id="train")
    wider = upsample_batch_to_divisible_size(put(rows, keys), 5, 1)
    assert len(wider.keys) == 10
    two = got(padded._compute_advantage(wider, {}), "advantages")[0]
    assert torch.equal(one, two[:8]) and not two[8:].any()
    assert plain.entropy_control.state == padded.entropy_control.state


def test_the_divisors_are_those_of_verl_s_settings():
    actor = "actor_rollout_ref.actor"
    control = trainer(
        *FLOW,
        f"{actor}.loss_agg_mode=seq-mean-token-sum-norm",
        f"{actor}.loss_scale_factor=50",
        f"{actor}.ppo_mini_batch_size=1",
    )
    rows, keys = random_rows()
    batch = control._compute_advantage(upsample_batch_to_divisible_size(put(rows, keys), 12, 1), {})
    found = control._read(batch)[0].divisors
    tokens = int(sum(each["response_mask"].sum() for each in rows))
    assert (int(found.tokens), found.sequences, found.batches, found.fixed) == (tokens, 12.0, 1.0, 600.0)
    control.config.actor_rollout_ref.actor.loss_scale_factor = None
    control.config.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu = 4
    control.actor_rollout_wg = SimpleNamespace(_dispatch_info={"actor": [0]})
    assert control._read(batch)[0].divisors.fixed == 12 * max(len(each["responses"]) for each in rows)
    control.config.actor_rollout_ref.actor.loss_agg_mode = "token-sum"
    assert control._read(batch)[0].divisors.fixed == 3  # mini-batches of one prompt with four answers


def test_several_rows_of_a_session_share_the_reward_of_the_last():
    control = trainer("+entrostat.method.name=nsr")
    rows, _ = random_rows(groups=1, size=4)
    for each, reward in zip(rows, (0.0, 1.0, 0.0, 0.0), strict=True):
        each["rm_scores"] = torch.zeros_like(each["rm_scores"])
        each["rm_scores"][-1] = reward
    keys = ["u0_0_0", "u0_0_1", "u0_1_0", "u0_1_1"]  # two sessions of two rows; the first is right
    advantages, mask = got(control._compute_advantage(put(rows, keys), {}), "advantages", "response_mask")
    assert not advantages[:2].any()
    kept = mask[2:].sum()
    assert torch.allclose(advantages[2:], -mask[2:] * (mask.sum() / kept), rtol=1e-6)


def test_the_reward_stage_acts_before_the_controller_measures():
    """Pass@2 of a prompt with one right answer of four: rho 1/2, so that a right answer is worth 1, a wrong one -1/3."""
    control = trainer("+entrostat.method.name=pass_at_k", "+entrostat.method.k=2")
    rows, keys = random_rows(groups=1, size=4)
    for index, each in enumerate(rows):
        each["rm_scores"] = torch.zeros_like(each["rm_scores"])
        each["rm_scores"][-1] = float(index == 2)
    metrics = {}
    batch = control._compute_advantage(put(rows, keys), metrics)
    advantages, mask = got(batch, "advantages", "response_mask")
    worth = torch.tensor([-1 / 3, -1 / 3, 1.0, -1 / 3]).unsqueeze(1)
    assert torch.allclose(advantages, worth * mask, atol=1e-4)
    assert metrics["entropy_control/measured"] > 0 and control.entropy_control.steps == 1


def test_momentum_counts_the_mini_batches():
    control = trainer(
        "+entrostat.method.name=hold",
        "+entrostat.method.target=1.0",
        "data.train_batch_size=64",
        "actor_rollout_ref.actor.ppo_mini_batch_size=16",
        "actor_rollout_ref.actor.ppo_epochs=2",
    )
    (knob,) = control.entropy_control.method.links[0].knobs.values()
    assert knob.momentum == pytest.approx(0.86**8)


@pytest.mark.parametrize("mode", ["entrostat_sync", "entrostat_colocate_async"])
def test_several_updates_between_two_synchronizations(mode):
    """`parameter_sync_step` 2: two controller steps, and each metric logged as their mean."""
    control = trainer(*FLOW, f"+trainer.v1.{mode.removeprefix('entrostat_')}.parameter_sync_step=2", mode=mode)
    assert control.parameter_sync_step == 2
    control.prepare_step = dict

    reports = []

    def once(metrics, timing, size):
        rows, keys = random_rows(len(reports))
        batch = control._compute_advantage(put(rows, [f"{len(reports)}{key}" for key in keys]), metrics)
        reports.append(dict(metrics))
        return batch

    control._step_once = once
    metrics = {}
    control.step(metrics, {})
    assert control.entropy_control.steps == 2
    ours = [key for key in reports[0] if key.startswith(("entropy_control/", "token_entropy/"))]
    assert len(ours) > 20
    # verl takes a minimum, a maximum or a sum where a key reads like one; none of ours does.
    for key in ours:
        assert metrics[key] == pytest.approx((reports[0][key] + reports[1][key]) / 2), key


def test_an_engine_without_statistics_is_refused_before_the_first_update():
    control = trainer(*FLOW)
    rows, keys = random_rows(names=("entropy",))
    with pytest.raises(MissingStatistic, match="external_lib"):
        control._compute_advantage(put(rows, keys), {})
    assert control.entropy_control.steps == 0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("+algorithm.rollout_correction.bypass_mode=True",), "bypass_mode"),
        (("actor_rollout_ref.actor.entropy_coeff=0.01",), "entropy_bonus"),
        (("actor_rollout_ref.actor.policy_loss.loss_mode=clip_cov",), "vanilla"),
        (("actor_rollout_ref.actor.strategy=veomni",), "fsdp2"),
        (
            (
                "actor_rollout_ref.model.use_fused_kernels=True",
                "actor_rollout_ref.model.fused_kernel_options.impl_backend=triton",
            ),
            "impl_backend=torch",
        ),
    ],
)
def test_settings_that_control_cannot_work_beside_are_refused(overrides, named):
    with pytest.raises(HostError, match=named):
        trainer(*FLOW, *(o.replace("+algorithm", "++algorithm") for o in overrides))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), "entrostat.method"),
        (("+entrostat.method.name=flwo",), "did you mean 'flow'"),
        (("+entrostat.method.name=positive_reweighting_staged",), "entrostat.method.steps"),
        (("+entrostat.method.name=flow", "+entrostat.method.target=half of initial"), "write 'initial'"),
        ((*FLOW, "+entrostat.metod=1"), "did you mean 'method'"),
        ((*FLOW, "+entrostat.resume_state=maybe"), "resume_state"),
        ((*FLOW, "+entrostat.method.kq=1"), "entrostat.method.kq"),
    ],
)
def test_wrong_settings_are_refused_by_their_key(overrides, named):
    with pytest.raises(ConfigError, match=named):
        trainer(*overrides)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("initial", Initial()),
        ("0.75 * initial", Initial(0.75)),
        ("{cosine:{start:initial,end:0.5*initial,steps:90}}", Cosine(Initial(), Initial(0.5), 90)),
    ],
)
def test_a_target_may_be_relative_to_the_start(written, meant):
    control = trainer("+entrostat.method.name=flow", f"+entrostat.method.target={written}")
    assert control.entropy_control.method.targets == [meant]


def test_what_the_constructor_sets():
    control = trainer(*FLOW, "actor_rollout_ref.model.external_lib=json")
    assert control.trainer_mode == "sync"
    assert list(control.config.actor_rollout_ref.model.external_lib) == ["json", fields.ENGINE]
    assert not control.config.actor_rollout_ref.actor.calculate_entropy
    bonus = trainer("+entrostat.method.name=skywork")
    assert bonus.config.actor_rollout_ref.actor.calculate_entropy


def test_a_target_above_log_v_is_refused(monkeypatch):
    control = trainer("+entrostat.method.name=flow", "+entrostat.method.target=4")
    base = type(control).__mro__[2]
    monkeypatch.setattr(base, "_init_tokenizer", lambda self: setattr(self, "tokenizer", range(21)), raising=False)
    with pytest.raises(ConfigError, match="log V"):
        control._init_tokenizer()


def test_strictly_on_policy_clip_ranges_are_warned_of():
    settings = (
        "data.train_batch_size=8",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "+entrostat.method=clip_higher",
    )
    with pytest.warns(UserWarning, match="strictly on-policy"):
        trainer(*settings)


def test_terms_and_clip_range_are_sent_to_the_workers():
    control = trainer(
        "+entrostat.method.name=clip_higher",
        "+entrostat.method.eps_high=0.4",
        "actor_rollout_ref.actor.clip_ratio_c=5.0",
        "data.train_batch_size=1024",
    )
    rows, keys = random_rows()
    batch = control._compute_advantage(put(rows, keys), {})
    seen = {}
    control.actor_rollout_wg = SimpleNamespace(update_actor=lambda b: seen.update(b.extra_info) or _stop())
    with pytest.raises(StopIteration):
        control._update_actor(batch, {})
    assert seen[fields.CLIP] == (0.2, 0.4, 5.0)
    tq.kv_clear(keys=keys, partition_id="train")

    bonus = trainer("+entrostat.method.name=entropy_bonus", "+entrostat.method.coef=0.03")
    batch = bonus._compute_advantage(put(rows, keys), {})
    term, mask = got(batch, fields.TERM.format("entropy"), "response_mask")
    assert torch.allclose(term, -0.03 * mask)


def _stop():
    raise StopIteration


def test_the_state_is_written_before_the_checkpoint_counts(tmp_path):
    control = trainer(*FLOW, f"trainer.default_local_dir={tmp_path}")
    rows, keys = random_rows()
    control._compute_advantage(put(rows, keys), {})
    control.global_steps = 3
    tracker = tmp_path / "latest_checkpointed_iteration.txt"
    at_actor = []

    def save(*_, **__):
        at_actor.append((tmp_path / "global_step_3" / "entrostat_state.json").exists() and not tracker.exists())

    control.actor_rollout_wg = SimpleNamespace(save_checkpoint=save)
    control.train_dataloader = SimpleNamespace(state_dict=dict, load_state_dict=lambda state: None)
    control._save_checkpoint()
    assert at_actor == [True] and tracker.read_text() == "3"

    def resumed(*overrides):
        again = trainer(*overrides, f"trainer.default_local_dir={tmp_path}")
        again.actor_rollout_wg = SimpleNamespace(load_checkpoint=lambda **_: None)
        again.train_dataloader = control.train_dataloader
        again._load_checkpoint()
        return again.entropy_control

    assert resumed(*FLOW).state == control.entropy_control.state
    path = tmp_path / "global_step_3"
    by_path = ("trainer.resume_mode=resume_path", f"trainer.resume_from_path={path}")
    assert resumed(*FLOW, *by_path).state == control.entropy_control.state
    with pytest.raises(StateError, match="another method"):
        resumed(FLOW[0], "+entrostat.method.target=0.9")
    (path / "entrostat_state.json").unlink()
    with pytest.raises(StateError, match=r"no controller state .* add \+entrostat\.resume_state=fresh"):
        resumed(*FLOW)
    assert resumed(*FLOW, "+entrostat.resume_state=fresh").steps == 0


def test_tokens_are_recorded_and_findings_sent(tmp_path, monkeypatch):
    """Under a method that needs no more than the entropy itself."""
    control = trainer(
        "+entrostat.method.name=skywork",
        "+entrostat.method.target=1.0",
        "+entrostat.tokens={every: 2, completions: 3}",
        f"+entrostat.alerts={{command: [tee, {tmp_path}/found.json], every: 10}}",
        f"trainer.default_local_dir={tmp_path}",
        "trainer.resume_mode=disable",
    )
    control.global_steps, control.tokenizer = 0, SimpleNamespace(decode=lambda ids: " ".join(map(str, ids)))
    control._load_checkpoint()
    for step in range(4):
        rows, keys = random_rows(step)
        control._compute_advantage(put(rows, keys), {})
        tq.kv_clear(keys=keys, partition_id="train")
    samples, problems = read_tokens(tmp_path / "tokens")
    assert not problems and [sample.step for sample in samples] == [1, 2, 4]
    first = samples[0]
    assert first.prompts == ["1 1 1"] * 3 and set(first.rewards) <= {0.0, 1.0} and set(first.ids) == {1}
    assert "flow" in first.would and first.lengths == first.full_lengths

    monkeypatch.setattr(PPOTrainer, "_compute_metrics", lambda *rest, **named: None)
    for step in range(1, 60):
        control.global_steps, alive = step, float(step < 20)
        metrics = {"actor/entropy": 0.5, "critic/score/mean": 0.3 * alive, "actor/grad_norm": 0.2 * alive}
        control._compute_metrics(None, metrics, {}, global_steps=step, epoch=0)
    control._alerts.close()
    assert "E302" in (tmp_path / "found.json").read_text()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("+entrostat.tokens.every=0", r"entrostat\.tokens\.every must be above 0"),
        ("+entrostat.tokens.evry=5", r"entrostat\.tokens\.evry"),
        ("+entrostat.tokens=true", r"entrostat\.tokens: give its settings"),
        ("+entrostat.alerts.webhok=x", r"entrostat\.alerts\.webhok: unknown key \(did you mean 'webhook'"),
        ("+entrostat.alerts.every=5", "no place to send to"),
    ],
)
def test_wrong_settings_of_tokens_and_alerts_are_refused(override, named):
    with pytest.raises(ConfigError, match=named):
        trainer(*FLOW, override)
