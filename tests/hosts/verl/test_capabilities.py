"""The capability table is what the code says today. Needs no verl."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

pytest.importorskip("trl", reason="the table has TRL's columns")

import entrostat as es
from entrostat.errors import ConfigError, HostError
from entrostat.hosts.capabilities import COLUMNS, REASONS, table
from entrostat.hosts.verl.settings import check_host
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


def config(clip: dict[str, float] | None = None, algorithm: dict[str, bool] | None = None, **rollout: float) -> object:
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


@pytest.mark.parametrize(
    ("name", "what"),
    [("erc", "stopped_BT"), ("ce_gppo", "a change of form"), ("siren", "term")],
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
