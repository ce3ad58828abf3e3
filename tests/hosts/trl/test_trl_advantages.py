"""TRL's settings of advantages beside methods that build their own: refused where they would have no effect."""

from __future__ import annotations

import pytest
from hosts.trl.trl_case import trainer
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.errors import ConfigError, HostError

pytestmark = [pytest.mark.filterwarnings("default")]


def make(directory, method, cls=GRPOTrainer, **settings):
    return trainer(directory, cls, wrap=lambda c: es.trl.controlled(c, method), **settings)


@pytest.mark.parametrize(
    ("name", "cls", "settings"),
    [
        ("qae", GRPOTrainer, {"scale_rewards": "none"}),
        ("psr", GRPOTrainer, {"scale_rewards": "batch"}),
        ("asym_grpo", GRPOTrainer, {"scale_rewards": "none"}),
        ("wapo", GRPOTrainer, {"multi_objective_aggregation": "normalize_then_sum"}),
        ("nsr", RLOOTrainer, {"beta": 0.1}),
        ("w_reinforce", RLOOTrainer, {"reward_clip_range": (0.0, 0.5)}),
        ("unlikeliness", RLOOTrainer, {"normalize_advantages": True}),
        ("pass_at_k", RLOOTrainer, {"normalize_advantages": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_would_have_no_effect_is_refused(tmp_path, name, cls, settings):
    method = es.wapo(longest=6) if name == "wapo" else es.make(name)
    ((setting, value),) = settings.items()
    with pytest.raises(ConfigError) as refused:
        make(tmp_path, method, cls, **settings)
    said = str(refused.value)
    assert said.startswith(f"TRL's {setting}={value!r} would have no effect: {name!r} builds its advantages")
    assert f"Leave TRL's {setting} at its default" in said


@pytest.mark.parametrize(
    ("method", "cls", "settings"),
    [
        (es.psr(), GRPOTrainer, {"scale_rewards": "none"}),
        (es.psr(), GRPOTrainer, {}),
        (es.psr(), RLOOTrainer, {"beta": 0.0, "reward_clip_range": None}),
        (es.flow(1.0), GRPOTrainer, {"scale_rewards": "batch"}),
        (es.entrocraft(), RLOOTrainer, {"normalize_advantages": True}),
    ],
    ids=["the same division", "defaults", "off", "the host's advantages are kept", "kept inside the band"],
)
def test_what_acts_or_says_nothing_else_is_not_refused(tmp_path, method, cls, settings):
    make(tmp_path, method, cls, **settings)


def test_several_completions_of_a_row_are_refused(tmp_path):
    with pytest.raises(HostError, match=r"'num_return_sequences': 2.*Leave num_return_sequences out"):
        make(tmp_path, es.observe(), generation_kwargs={"num_return_sequences": 2})
    make(tmp_path, es.observe(), generation_kwargs={"num_return_sequences": 1})


def test_more_tries_than_completions_are_refused(tmp_path):
    make(tmp_path, es.make("pass_at_k", k=4))
    with pytest.raises(ConfigError, match=r"^num_generations=4: pass_at_k has k=5, .* k must be at most that"):
        make(tmp_path, es.make("pass_at_k", k=5))
