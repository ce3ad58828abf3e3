"""What goes into statistics, batches and objectives is refused where it would count as something else, or fail later."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import entrostat as es
from entrostat.errors import ConfigError, DataError
from entrostat.types import Rollouts, TopLogp

B, T, V, D = 3, 4, 9, 6
LOGITS, HIDDEN, WEIGHT = torch.randn(B, T, V), torch.randn(B, T, D), torch.randn(V, D)
IDS, ONES = torch.randint(0, V, (B, T)), torch.ones(B, T)
STATS = es.token_stats(LOGITS, IDS, want=("logp", "entropy", TopLogp(3)))
ADVANTAGES = torch.randn(B)


class Output:
    logits = LOGITS


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (LOGITS.tolist(), IDS, r"logits must be a tensor, .* list: pass torch\.as_tensor\(logits\)"),
        (LOGITS.numpy(), IDS, r"logits must be a tensor, .* ndarray: pass torch\.as_tensor"),
        (Output(), IDS, r"logits must be a tensor, .* Output: pass its \.logits"),
        (None, IDS, "logits must be a tensor"),
        (LOGITS, np.asarray(IDS), "targets must be a tensor"),
        (LOGITS, IDS.to("meta"), f"on several devices: logits on {LOGITS.device}, targets on meta"),
    ],
)
def test_logits_that_are_none(logits: Any, targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        es.token_stats(logits, targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_Vd": torch.nn.Linear(D, V)}, r"weight must be a tensor, .* Linear: pass its \.weight"),
        ({"hidden_BTd": HIDDEN.long()}, "hidden must be a floating tensor, got torch.int64"),
        ({"weight_Vd": WEIGHT.long()}, "weight must be a floating tensor"),
        ({"bias_V": [0.0] * V}, "bias must be a tensor"),
        ({"mask_BT": ONES * 0.3}, r"mask must be 1 .* got 0\.3"),
        ({"mask_BT": ONES * math.nan}, "mask must be 1 .* got nan"),
    ],
)
def test_hidden_states_that_are_none(changes: dict[str, Any], message: str) -> None:
    given = {"hidden_BTd": HIDDEN, "weight_Vd": WEIGHT, "targets_BT": IDS} | changes
    with pytest.raises(DataError, match=message):
        es.token_stats_from_hidden(**given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": "1"}, "temperature must be a finite number above zero, got '1'"),
        ({"temperature": None}, "temperature must be"),
        ({"temperature": torch.ones(2)}, "temperature must be"),
        ({"temperature": True}, "temperature must be"),
        ({"temperature": 1e-45}, "temperature must be at least 1e-20, got 1e-45"),
        ({"want": None}, "want must be the names"),
        ({"want": [3]}, "unknown statistic 3"),
    ],
)
def test_settings_of_both_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        es.token_stats(LOGITS, IDS, **changes)
    with pytest.raises(ConfigError, match=message):
        es.token_stats_from_hidden(HIDDEN, WEIGHT, IDS, **changes)


@pytest.mark.parametrize("changes", [{"softcap": "a"}, {"logit_scale": "q"}, {"kept_mb": None}, {"tile_tokens": 1.5}])
def test_settings_of_the_head_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} must be"):
        es.token_stats_from_hidden(HIDDEN, WEIGHT, IDS, **changes)
    with pytest.raises(ConfigError, match="chunk_tokens must be a whole number"):
        es.token_stats(LOGITS, IDS, chunk_tokens=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stats": STATS.logp}, f"stats must be the TokenStats .* {type(STATS.logp).__name__}"),
        ({"advantages_BT": [1.0, 2.0, 3.0]}, "advantages_BT must be a tensor"),
        ({"advantages_BT": torch.tensor(1.0)}, r"advantages must have shape .* got \(\)"),
        ({"advantages_BT": ADVANTAGES[:, None, None]}, r"advantages must have shape .* got \(3, 1, 1\)"),
        ({"advantages_BT": ADVANTAGES > 0}, "advantages must be numbers, got booleans"),
        (
            {"advantages_BT": ADVANTAGES.to("meta")},
            f"on several devices: mask_BT on {ONES.device}, advantages_BT on meta",
        ),
        ({"mask_BT": torch.where(ONES > 0, -100, 1)}, "mask_BT must be 1 .* got -100 .* labels != -100"),
        ({"mask_BT": ONES * 0.5}, r"mask_BT must be 1 .* got 0\.5"),
        ({"mask_BT": ONES * math.nan}, "mask_BT must be 1 .* got nan"),
        ({"mask_BT": ONES.tolist()}, "mask_BT must be a tensor"),
        # Broadcast, it made a ratio of every pair of tokens.
        ({"old_logp_BT": STATS.need("logp")[..., None]}, r"old_logp_BT must have the mask's shape .* \(3, 4, 1\)"),
        ({"rewards_B": [1.0, 0.0, 1.0]}, "rewards_B must be a tensor"),
        ({"groups_B": (0, 0, 1)}, "groups_B must be a tensor"),
    ],
)
def test_batches_that_are_none(changes: dict[str, Any], message: str) -> None:
    given = {"stats": STATS, "advantages_BT": ADVANTAGES, "mask_BT": ONES}
    es.TokenBatch(**given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        es.TokenBatch(**given | changes)


def test_rollouts_that_are_none() -> None:
    with pytest.raises(DataError, match="rewards_B must be a tensor"):
        Rollouts(ADVANTAGES, [1, 0, 1], IDS[:, 0], IDS[:, 0])  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["probabilities", "cross-entropies"])
def test_old_log_probabilities_that_are_none(wrong: str) -> None:
    logp = STATS.need("logp")
    batch = es.TokenBatch(STATS, ADVANTAGES, ONES, logp.exp() if wrong == "probabilities" else -logp)
    for objective in (es.ppo, es.grpo, es.gspo, es.cispo):
        with pytest.raises(DataError, match="old_logp_BT must hold log-probabilities"):
            objective(batch)
    es.ppo(es.TokenBatch(STATS, ADVANTAGES, ONES * 0, logp.exp()))  # padding may hold anything


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps_low": -1}, "eps_low must be a number, zero or more"),
        ({"eps_high": None}, "eps_high must be"),
        ({"eps_high": math.nan}, "eps_high must be"),
        ({"dual_clip": 0.5}, "dual_clip must be a ratio above 1"),
        ({"dual_clip": "a"}, "dual_clip must be"),
    ],
)
def test_clips_that_are_none(changes: dict[str, Any], message: str) -> None:
    batch = es.TokenBatch(STATS, ADVANTAGES, ONES)
    es.ppo(batch, eps_low=torch.full((B, T), 0.2), eps_high=math.inf, dual_clip=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        es.ppo(batch, **changes)


def test_sampled_entropy_of_what_is_none() -> None:
    with pytest.raises(DataError, match=r"mask_BT must have the shape of logp_BT, \(3, 4\), got \(3,\)"):
        es.sampled_entropy(STATS.need("logp"), torch.ones(B))


def test_a_batch_whose_completions_have_no_token_is_an_empty_step() -> None:
    control = es.EntropyControl(es.hold(0.3))
    stats = es.token_stats(LOGITS[:, :0].requires_grad_(), IDS[:, :0], want=control.wants)
    batch = es.TokenBatch(stats, ADVANTAGES, ONES[:, :0])
    es.loss(control.apply(es.ppo(batch), batch), batch).backward()
    assert control.step() == {"entropy_control/empty_step": 1.0}
