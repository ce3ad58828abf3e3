"""The capability table is what the code says today. Needs no verl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from methods.cases import data
from omegaconf import OmegaConf

pytest.importorskip("trl", reason="the table has TRL's columns")

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.errors import ConfigError, HostError
from entrostat.hosts.capabilities import COLUMNS, REASONS, table
from entrostat.hosts.verl.batch import Sessions, control_batch, score_batch
from entrostat.hosts.verl.settings import VERL, check_host
from entrostat.methods import names
from entrostat.methods.cards import example

PAGE = Path(__file__).parents[3] / "docs" / "capabilities.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == table() + "\n", "python -m entrostat.hosts.capabilities > docs/capabilities.md"


def test_every_method_and_every_reason_is_there():
    text = table()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(names())
    assert all(line.count("|") == len(COLUMNS) + 3 for line in rows)
    assert not any(" no |" in line for line in rows)  # each no has a reason
    for number in range(1, len(REASONS) + 1):
        assert f"\n{number}. " in text


def config(clip: dict[str, float] | None = None, algorithm: dict[str, Any] | None = None, **rollout: float) -> object:
    actor = {"strategy": "fsdp2", "entropy_coeff": 0, "policy_loss": {"loss_mode": "vanilla"}, **(clip or {})}
    return OmegaConf.create(
        {"actor_rollout_ref": {"actor": actor, "model": {}, "rollout": rollout}, "algorithm": algorithm or {}}
    )


@pytest.mark.parametrize("rollout", [{"top_p": 0.9}, {"top_k": 20}])
def test_sampling_from_a_part_is_refused_with_the_way_out(rollout):
    check_host(config(), es.flow(0.3))
    check_host(config(top_p=1.0, top_k=-1), es.flow(0.3))
    (name,) = rollout
    with pytest.raises(HostError, match=rf"rollout\.{name}=.* set actor_rollout_ref\.rollout\.{name}="):
        check_host(config(**rollout), es.flow(0.3))


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_samples_nothing_is_refused(temperature):
    check_host(config(temperature=0.6), es.flow(0.3))
    with pytest.raises(HostError, match=r"rollout\.temperature=.* samples from no distribution.* such as 1\.0"):
        check_host(config(temperature=temperature), es.flow(0.3))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("erc", "stopped_BT"),
        ("ce_gppo", "a change of form"),
        ("siren", "term"),
        ("archer", "a clip range of each token.* take two numbers"),
    ],
)
def test_what_verl_cannot_express_is_refused_before_anything_starts(name, what):
    with pytest.raises(HostError, match=what):
        check_host(config(), es.make(name))


def test_two_ends_of_one_clip_are_refused():
    check_host(config({"clip_ratio_high": 0.28, "clip_ratio_c": 3.0}), es.clip_higher(0.28))
    check_host(config({"clip_ratio_high": 0.3}), es.flow(0.3))
    with pytest.raises(HostError, match=r"clip_ratio_high=0\.3 would have no effect: 'clip_range' sets .* to 0\.28"):
        check_host(config({"clip_ratio_high": 0.3}), es.clip_higher(0.28))


@pytest.mark.parametrize(
    ("setting", "refused", "kept"),
    [("use_kl_in_reward=True", "psr", "flow"), ("norm_adv_by_std_in_grpo=False", "qae", "psr")],
)
def test_settings_of_advantages_that_are_replaced_are_refused(setting, refused, kept):
    name, _, value = setting.partition("=")
    settings = config(algorithm={name: value == "True"})
    check_host(settings, example(kept))
    with pytest.raises(
        ConfigError, match=rf"^algorithm\.{setting} would have no effect: '{refused}' builds its advantages"
    ):
        check_host(settings, example(refused))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"adv_estimator": "gae"}, r"algorithm\.adv_estimator=gae"),
        ({"adv_estimator": "optimal_token_baseline"}, "=optimal_token_baseline"),
        ({"adv_estimator": "reinforce_plus_plus", "gamma": 0.99}, r"with algorithm\.gamma=0\.99"),
        ({"adv_estimator": "reinforce_plus_plus", "use_kl_in_reward": True}, "with algorithm.use_kl_in_reward=True"),
    ],
)
def test_estimators_of_each_token_are_refused_beside_the_reward_stage(settings, named):
    method = example("aepo_qwenlong")
    for kept in ({"adv_estimator": "grpo"}, {"adv_estimator": "reinforce_plus_plus"}, {"adv_estimator": "own"}):
        check_host(config(algorithm=kept), method)
    check_host(config(algorithm=settings), es.flow(0.3))
    with pytest.raises(HostError, match=rf"'aepo_qwenlong' acts on one advantage .*{named} .*adv_estimator=grpo"):
        check_host(config(algorithm=settings), method)


def test_too_few_completions_are_refused_before_anything_starts():
    check_host(config(n=4), es.make("pass_at_k", k=4))
    check_host(config(n=1), es.flow(0.3))
    with pytest.raises(ConfigError, match=r"^actor_rollout_ref\.rollout\.n=2: pass_at_k has k=4, .* at most"):
        check_host(config(n=2), es.make("pass_at_k", k=4))


@pytest.mark.parametrize("name", [n for n in names() if not VERL.lacks(example(n))])
def test_what_verl_serves_meets_no_refusal_at_its_first_batch(name):
    method = es.make("pass_at_k", k=2) if name == "pass_at_k" else example(name)
    batch = data(0, on_policy=True).batch(method.requires | method.of_rollouts)
    control = EntropyControl(method, host=VERL)
    if "reward" in method.stages:
        keys = [f"u{int(group)}_{row}_0" for row, group in enumerate(batch.groups_B)]
        batch = score_batch(control, batch, Sessions.of(keys), "token-mean")
    control_batch(control, batch, "token-mean", (0.2, 0.2, 3.0))
