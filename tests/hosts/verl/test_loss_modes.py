"""What of a method verl's policy losses carry out: refused before anything starts, and by a sentence. Needs no verl."""

from __future__ import annotations

import math

import pytest
import torch
from omegaconf import OmegaConf

import entrostat as es
from entrostat.errors import HostError
from entrostat.hosts.verl.loss_modes import MODES, aggregation_of, mode_of, weights_of
from entrostat.hosts.verl.settings import check_host
from entrostat.methods.cards import example

ENDS = ["clip_higher", "bapo_balanced", "adapo", "kl_cov", "wapo"]
TOKENS = ["flow", "clip_b", "steer", "repo_r", "psr"]
TERMS = ["hold", "entropy_bonus", "entropic"]
CLIPPED = ["vanilla", "gspo", "cispo"]
UNCLIPPED = ["dppo_tv", "dppo_kl", "sapo", "gpg", "dro"]


def config(mode, **changes):
    actor = {"strategy": "fsdp2", "entropy_coeff": 0, "loss_agg_mode": "token-mean", "policy_loss": {"loss_mode": mode}}
    return OmegaConf.create({"actor_rollout_ref": {"actor": {**actor, **changes}, "model": {}}, "algorithm": {}})


@pytest.mark.parametrize("name", [*ENDS, *TOKENS, *TERMS])
@pytest.mark.parametrize("mode", CLIPPED)
def test_losses_with_a_clip_carry_out_all(mode, name):
    check_host(config(mode), example(name))


@pytest.mark.parametrize("mode", UNCLIPPED)
def test_losses_that_clip_no_ratio_refuse_methods_that_set_its_ends(mode):
    for name in (*TOKENS, *TERMS):
        check_host(config(mode), example(name))
    for name in ENDS:
        with pytest.raises(HostError, match=rf"loss_mode='{mode}' cannot .* sets an end .*: it .*\. Set .*=vanilla"):
            check_host(config(mode), example(name))


@pytest.mark.parametrize(
    ("names", "why"),
    [(ENDS, "logarithm of the ratio"), (TOKENS, "mean of a completion's advantages"), (TERMS, "adds up the means")],
)
def test_the_geometric_mean_takes_no_more_than_advantages_of_completions(names, why):
    check_host(config("geo_mean"), example("aepo_qwenlong"))
    for name in names:
        with pytest.raises(HostError, match=rf"loss_mode='geo_mean' cannot carry out .*{why}.*=vanilla"):
            check_host(config("geo_mean"), example(name))


@pytest.mark.parametrize(
    ("own", "dynamic", "named"),
    [
        ({"dynamic_context_parallel": True}, False, "dynamic_context_parallel=True"),
        (
            {"virtual_pipeline_model_parallel_size": 2},
            True,
            "virtual_pipeline_model_parallel_size=2 with use_dynamic_bsz",
        ),
    ],
)
def test_means_of_micro_batches_that_the_driver_cannot_know_are_refused(own, dynamic, named):
    megatron = {"strategy": "megatron", "megatron": own, "use_dynamic_bsz": dynamic}
    norm = {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": None}
    with pytest.raises(HostError, match=f"loss_mode='geo_mean' takes a mean .*{named}.*: set .*loss_mode=vanilla"):
        check_host(config("geo_mean", **megatron), es.observe())
    with pytest.raises(
        HostError, match=f"loss_agg_mode=seq-mean-token-sum-norm takes .*{named}.*: set actor.loss_scale"
    ):
        check_host(config("vanilla", **megatron, **norm), es.flow(0.3))
    check_host(config("vanilla", **megatron), es.flow(0.3))
    check_host(config("vanilla", **megatron, **(norm | {"loss_scale_factor": 100})), es.flow(0.3))
    check_host(config("geo_mean", **(megatron | {"megatron": {}})), es.observe())


@pytest.mark.parametrize("mode", ["clip_cov", "kl_cov"])
def test_rivals_are_refused_beside_every_method_that_acts(mode):
    for name in ("flow", "hold", "clip_higher", "aepo_qwenlong"):
        with pytest.raises(HostError, match=rf"loss_mode='{mode}' cannot carry out .* same entropy.*=vanilla"):
            check_host(config(mode), example(name))


@pytest.mark.parametrize("mode", [name for name in MODES if name != "bypass_mode"])
@pytest.mark.parametrize("account", [False, True])
def test_measuring_stands_beside_all(mode, account):
    check_host(config(mode, entropy_coeff=0.01), es.observe(account=account))


def test_the_loss_of_the_bypass_mode_is_refused():
    with pytest.raises(HostError, match=r"loss_mode='bypass_mode' does not work .*rollout_correction\.bypass_mode"):
        check_host(config("bypass_mode"), es.observe())


def test_a_loss_of_one_s_own_is_warned_of():
    with pytest.warns(
        UserWarning, match=r"loss_mode='vanila' is not a loss of verl 0\.9\.1 \(did you mean 'vanilla'\?\)"
    ):
        check_host(config("vanila"), es.clip_higher(0.28))


def test_the_mean_is_the_loss_s_own():
    taken = {mode: aggregation_of(config(mode).actor_rollout_ref.actor) for mode in MODES}
    own = {mode for mode, mean in taken.items() if mean == "seq-mean-token-mean"}
    assert own == {"sapo", "geo_mean"} and set(taken.values()) == {"token-mean", "seq-mean-token-mean"}


def test_rollout_weights_of_a_completion_may_become_one():
    weight, mask = torch.tensor([[1.0, 4.0, 9.0], [0.5, 0.0, 0.0]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert weights_of(MODES["gspo"], weight, mask) is weight
    found = weights_of(mode_of(config("geo_mean").actor_rollout_ref.actor), weight, mask)
    assert found.tolist() == [pytest.approx([2.0] * 3), pytest.approx([0.5] * 3)]
    assert math.isfinite(float(weights_of(MODES["geo_mean"], weight, torch.zeros_like(mask)).sum()))
