"""What holds for every method: one suite over all presets and their variants."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import math
import re

import pytest
import torch
from methods.cases import CASES, Case, apply, data, split, together, trained
from torch import Tensor

import entrostat as es
from entrostat.control import Piecewise
from entrostat.control.knob import reads_effect
from entrostat.core.control import EntropyControl
from entrostat.errors import ConfigError, DataError, MissingStatistic, StateError
from entrostat.methods import Entropic, factory, fingerprint, names, source
from entrostat.types import Old, Summary, Surrogate, Totals

every = pytest.mark.parametrize("case", CASES, ids=str)
OF_THE_MICRO_BATCH = {"predicted", "authority", "authority_low", "authority_high"}
OF_THE_MICRO_BATCH |= {"clip_tokens/dropped_share", "kl_cov/chosen_share", "clip_cov/chosen_share"}


def plain(control: EntropyControl) -> str:
    return json.dumps(control.method.state_to_dict(control.state), allow_nan=False)


def close(left: object, right: object, path: str = "state") -> None:
    """Equal up to the rounding of sums in another order."""
    if isinstance(left, dict) and isinstance(right, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            close(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list) and isinstance(right, list):
        assert len(left) == len(right), path
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            close(a, b, f"{path}[{i}]")
    else:
        assert left == pytest.approx(right, rel=1e-9, abs=1e-12), path


def test_every_preset_is_covered() -> None:
    assert {case.name for case in CASES} == set(names())


@every
def test_state_round_trips_through_json_exactly(case: Case) -> None:
    control = trained(case)
    again = EntropyControl(case())
    again.state = again.method.state_from_dict(json.loads(plain(control)))
    assert again.state == control.state
    for each in (control, again):
        apply(each, data(9))
    assert control.step() == again.step()
    assert control.state == again.state


@every
@pytest.mark.parametrize("damage", [{}, [], None, 7, [{"knobs": {}, "memory": {}, "extra": 1}] * 9])
def test_a_state_that_does_not_fit_is_refused(case: Case, damage: object) -> None:
    chain = case()
    if damage == [] and not chain.links:
        return
    with pytest.raises((StateError, TypeError)):
        chain.state_from_dict(damage)


@every
def test_micro_batches_and_ranks_do_not_matter(case: Case) -> None:
    whole, parts = EntropyControl(case()), EntropyControl(case())
    ranks = EntropyControl(case()), EntropyControl(case())
    for seed in range(3):
        step = data(seed)
        at_once = apply(whole, step)
        pieces = [apply(parts, micro) for micro in split(step, 4)]
        for rank, half in zip(ranks, split(step, 2), strict=True):
            for micro in split(half, 2):
                apply(rank, micro)
        metrics = [whole.step(), parts.step(), *together(ranks)]
        if not case.micro:
            for name in ("weight_BT", "keep_BT", "advantages_BT"):
                if isinstance(value := getattr(at_once, name), Tensor):
                    torch.testing.assert_close(torch.cat([getattr(piece, name) for piece in pieces]), value)
        # Hosts take what dropped tokens leave to the others from each micro-batch, and so does what is predicted.
        micro = case.micro or at_once.keep_BT is not None
        ignored = {f"entropy_control/{m}" for m in OF_THE_MICRO_BATCH} if micro else set()
        for other in metrics[1:]:
            assert other.keys() == metrics[0].keys()
            close(
                {k: v for k, v in metrics[0].items() if k not in ignored},
                {k: other[k] for k in other if k not in ignored},
            )
    assert ranks[0].state == ranks[1].state
    for control in (parts, *ranks):
        close(json.loads(plain(control)), json.loads(plain(whole)))


@every
def test_an_empty_mask_does_nothing_and_says_so(case: Case) -> None:
    control = trained(case)
    before, steps = control.state, control.steps
    empty = data(5).replace(mask_BT=torch.zeros(8, 6))
    surrogate = apply(control, empty)
    batch = empty.batch(control.method.requires)
    value = es.loss(surrogate, batch)
    assert value.item() == 0
    value.backward()
    assert empty.logits_BTV.grad is not None and not empty.logits_BTV.grad.any()
    assert control.step() == {"entropy_control/empty_step": 1.0}
    assert control.state == before and control.steps == steps
    assert control.method.update(before, Totals(Summary())) == (before, {})


@every
def test_an_empty_micro_batch_changes_nothing_beside_full_ones(case: Case) -> None:
    with_empty, without = trained(case), trained(case)
    apply(with_empty, data(6).replace(mask_BT=torch.zeros(8, 6)))
    for control in (with_empty, without):
        apply(control, data(5))
    assert with_empty.step() == without.step()
    assert with_empty.state == without.state


@every
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_advantages_of_zero_leave_everything_finite(case: Case, reward: float) -> None:
    control, reference = trained(case), trained(case)
    for start in (EntropyControl(case()), control):
        flat = data(5).replace(advantages_BT=torch.zeros(8, 6).double(), rewards_B=torch.full((8,), reward).double())
        surrogate = apply(start, flat)
        for value in (surrogate.weight_BT, surrogate.advantages_BT):
            assert value is None or torch.isfinite(value).all()
        es.loss(surrogate, flat.batch(start.method.requires)).backward()
        assert flat.logits_BTV.grad is not None and torch.isfinite(flat.logits_BTV.grad).all()
        assert all(math.isfinite(v) for v in start.step().values())
        plain(start)  # refuses NaN and infinity
    apply(reference, data(5))
    reference.step()
    # The entropy of the step is the same, so every controller is where it would be with any other advantages, unless it has
    # asked what its output did to this batch: nothing, but for a term of the loss, which needs no advantages.
    for link, after, other in zip(control.method.links, control.state, reference.state, strict=True):
        for knob, controller in link.knobs.items():
            if reads_effect(controller) and after.knobs[knob].unit:
                assert (after.knobs[knob].effort != 0) == any(name.startswith("terms/") for name in link.writes)
                assert after.knobs[knob].measured == other.knobs[knob].measured
            else:
                assert after.knobs[knob] == other.knobs[knob]
    surrogate = apply(control, data(7))
    assert surrogate.weight_BT is None or torch.isfinite(surrogate.weight_BT).all()


@every
def test_dtypes_are_kept(case: Case) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        control = EntropyControl(case())
        for seed in (0, 1):
            step = data(seed, dtype=torch.float32)
            step = step.replace(advantages_BT=step.advantages_BT.to(dtype), rewards_B=step.rewards_B.to(dtype))
            surrogate = apply(control, step)
            assert surrogate.advantages_BT.dtype == dtype
            assert surrogate.weight_BT is None or surrogate.weight_BT.dtype == dtype
            assert surrogate.keep_BT is None or surrogate.keep_BT.dtype == torch.bool
            value = es.loss(surrogate, step.batch(control.method.requires))
            assert value.dtype == torch.float32
            value.backward()
            assert step.logits_BTV.grad is not None and step.logits_BTV.grad.dtype == torch.float32
            assert control._pending.vector().dtype == torch.float64
            control.step()


@every
def test_only_the_policy_has_a_gradient(case: Case) -> None:
    control = trained(case)
    step = data(5)
    constants = {
        name: getattr(step, name).detach().clone().requires_grad_()
        for name in ("advantages_BT", "old_logp_BT", "rewards_B")
    }
    step = step.replace(**constants)
    batch = step.batch(control.method.requires)
    surrogate = control.apply(es.ppo(batch), batch)
    for value in (
        surrogate.weight_BT,
        surrogate.keep_BT,
        surrogate.eps_low,
        surrogate.eps_high,
        *(term.factor_BT for term in surrogate.terms),
        control._pending.vector(),
    ):
        assert not isinstance(value, Tensor) or not value.requires_grad
    if surrogate.weight_BT is not None:
        assert (surrogate.weight_BT >= 0).all()
    es.loss(surrogate, batch).backward()
    assert step.logits_BTV.grad is not None
    assert all(constant.grad is None for constant in constants.values())
    padding = ~batch.mask
    assert not step.logits_BTV.grad[padding].any()


@every
@pytest.mark.parametrize("objective", [es.ppo, es.gspo])
def test_logits_of_minus_infinity_have_finite_gradients(case: Case, objective: object) -> None:
    control = trained(case)
    step = data(5)
    logits = step.logits_BTV.detach().clone()
    mask = step.mask_BT.bool()
    forbidden = (step.targets_BT + 1) % logits.shape[-1]
    logits.scatter_(-1, forbidden.unsqueeze(-1), -math.inf)  # the vocabulary that sampling leaves out
    logits[~mask] = 0.0
    logits[~mask] = logits[~mask].scatter(-1, step.targets_BT[~mask].unsqueeze(-1), -math.inf)  # a pad token left out
    old = step.old_logp_BT.masked_fill(~mask, -math.inf)  # type: ignore[union-attr]
    advantages = step.advantages_BT.masked_fill(~mask, math.nan)
    for old_logp in (old, None):
        leaf = logits.clone().requires_grad_()
        given = step.replace(logits_BTV=leaf, old_logp_BT=old_logp, advantages_BT=advantages)
        batch = given.batch(control.method.requires)
        surrogate = control.apply(objective(batch), batch)  # type: ignore[operator]
        es.loss(surrogate, batch).backward()
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all()
        assert not leaf.grad[~mask].any()
    metrics = control.step()
    assert all(math.isfinite(v) for k, v in metrics.items()), metrics


@every
def test_apply_never_moves_the_state(case: Case) -> None:
    control = trained(case)
    before = copy.deepcopy(control.state)
    first = apply(control, data(5))
    second = apply(control, data(5))
    assert control.state == before
    for field in ("weight_BT", "keep_BT", "advantages_BT"):
        if isinstance(value := getattr(first, field), Tensor):
            assert torch.equal(value, getattr(second, field))


@every
def test_nan_logits_are_refused_and_move_nothing(case: Case) -> None:
    control, untouched = trained(case), trained(case)
    step = data(5)
    logits = step.logits_BTV.detach().clone()
    logits[0, 0, 0] = math.nan
    broken = step.replace(logits_BTV=logits)
    surrogate = apply(control, broken)
    if case.name not in ("nsr", "psr", "only_tokens"):  # which may leave that token out of the loss
        with pytest.raises(DataError, match="NaN"):
            es.loss(surrogate, broken.batch(control.method.requires))
    with pytest.warns(UserWarning, match="measured entropy is nan"):
        assert control.step() == {"entropy_control/skipped_steps": 1.0}
    assert control.state == untouched.state and control.steps == untouched.steps
    for each in (control, untouched):
        apply(each, step)
    assert control.step() == untouched.step()


@every
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_advantages_that_are_no_number_are_said_counted_and_left_out(case: Case, value: float) -> None:
    control, step = trained(case), data(5)
    advantages = step.advantages_BT.clone()
    advantages[0] = value
    apply(control, step.replace(advantages_BT=advantages))
    lost = int(step.mask_BT[0].sum())
    with pytest.warns(UserWarning, match=f"advantage of {lost} of .* tokens is NaN or infinite"):
        metrics = control.step()
    assert metrics["entropy_control/advantages_not_finite"] == lost
    assert all(map(math.isfinite, metrics.values())), metrics
    plain(control)
    surrogate = apply(control, data(6))
    assert surrogate.weight_BT is None or torch.isfinite(surrogate.weight_BT).all()


@every
def test_runs_are_deterministic(case: Case) -> None:
    assert plain(trained(case)) == plain(trained(case))
    assert fingerprint(case()) == fingerprint(case())


@every
def test_only_declared_fields_change(case: Case) -> None:
    control = trained(case)
    batch = data(5).batch()
    before = es.grpo(batch)
    after = control.apply(before, batch)
    declared = {field.split("/")[0] for link in control.method.links for field in link.writes} | {"sums"}
    for field in dataclasses.fields(Surrogate):
        if field.name not in declared:
            assert getattr(after, field.name) is getattr(before, field.name)


@every
def test_declared_statistics_suffice_and_are_needed(case: Case) -> None:
    control = EntropyControl(case())
    apply(control, data(0))  # asks for method.requires alone
    for missing in control.method.requires:
        batch = data(0).batch(control.method.requires - {missing})
        if missing == Old("logp") or (isinstance(missing, Old) and batch.old is None):
            continue  # which the batch has as old_logp_BT
        with pytest.raises(MissingStatistic, match=re.escape(str(missing.of if isinstance(missing, Old) else missing))):
            control.apply(es.ppo(batch), batch)


@every
def test_metrics_are_finite_and_well_named(case: Case) -> None:
    control = EntropyControl(case())
    for seed in range(3):
        apply(control, data(seed))
        metrics = control.step()
        assert metrics["entropy_control/measured"] == metrics["token_entropy/mean"]
        for name, value in metrics.items():
            assert name.startswith(("entropy_control/", "token_entropy/"))
            if name.startswith("entropy_control/"):
                assert "min" not in name and "max" not in name, "a host's reducer reads these letters"
            assert isinstance(value, float) and math.isfinite(value)
    if control.method.targets:
        assert metrics.keys() >= {f"entropy_control/{m}" for m in ("target", "error", "output", "saturated")}


def test_no_statistic_is_named_like_an_extreme() -> None:
    control = EntropyControl(es.observe())
    batch = data(0).batch()
    control.observe(batch)
    assert not [name for name in control.step() if "min" in name or "max" in name]


@every
def test_no_knob_of_zero_changes_the_objective(case: Case) -> None:
    """Weights are exactly 1 and no term is added while the output of flow or entropic is 0."""
    if case.name not in ("flow", "entropic") or "controller" in case.options:
        return
    control = EntropyControl(case())
    batch = data(5).batch()
    surrogate = control.apply(es.ppo(batch), batch)  # before the first measurement
    assert surrogate.terms == ()
    assert surrogate.weight_BT is None or torch.equal(surrogate.weight_BT, torch.ones_like(surrogate.weight_BT))
    assert es.loss(surrogate, batch).item() == es.loss(es.ppo(batch), batch).item()


@pytest.mark.parametrize("name", names())
def test_unknown_options_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"method\.color: unknown key"):
        es.make(name, color=1, **({"target": 0.3} if "target" in inspect.signature(factory(name)).parameters else {}))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("hodl", "'hold'"),
        ("kl-cov", "'kl_cov'"),
        ("HOLD", "'hold'"),
        ("grpo", "'observe'"),
        ("entropy", "'entropic' or 'entropy_bonus'"),
    ],
)
def test_an_unknown_method_is_told_its_near_names_alone(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as refused:
        source(name)
    lists = f"the command `entrostat methods` lists all {len(names())}"
    assert str(refused.value) == f"unknown method {name!r} (did you mean {near}?); {lists}"
    with pytest.raises(ConfigError, match=r"^unknown method 'zzzz'; the command"):
        source("zzzz")


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'flaw' \(did you mean 'flow'\?\)"):
        es.make("flaw")
    with pytest.raises(ConfigError, match=r"method\.steps: is needed"):
        es.make("positive_reweighting_staged")


@pytest.mark.parametrize("name", ["flow", "entropic", "skywork", "temperature"])
@pytest.mark.parametrize("target", [-0.1, math.nan, math.inf, "0.3", True, None, Piecewise(((0, -1.0),))])
def test_impossible_targets_are_refused_at_construction(name: str, target: object) -> None:
    with pytest.raises(ConfigError, match="target entropy"):
        es.make(name, target=target)


@pytest.mark.parametrize("name", ["flow", "entropic", "skywork", "temperature"])
def test_a_target_above_log_v_is_refused_at_construction(name: str) -> None:
    EntropyControl(es.make(name, target=math.log(32) - 1e-6), vocabulary=32)
    for target in (math.log(32) + 1e-6, Piecewise(((0, 4.0), (9, 0.1)))):
        with pytest.raises(ConfigError, match="above log V"):
            EntropyControl(es.make(name, target=target), vocabulary=32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flow", {"target": 0.3, "kp": -1.0}),
        ("flow", {"target": 0.3, "kp": "8"}),
        ("flow", {"target": 0.3, "limits": (1.0, -1.0)}),
        ("flow", {"target": 0.3, "limits": 2.0}),
        ("flow", {"target": 0.3, "w_max": 1.0}),
        ("flow", {"target": 0.3, "w_max": math.nan}),
        ("flow", {"target": 0.3, "scope": "batch"}),
        ("flow", {"target": 0.3, "shape": "square"}),
        ("flow", {"target": 0.3, "samples": "correct"}),
        ("flow", {"controller": "PI"}),
        ("entropic", {"target": 0.3, "threshold": 1.0}),
        ("entropic", {"target": 0.3, "select": "p"}),
        ("entropic", {"target": 0.3, "normalizer": "none"}),
        ("entropic", {"target": 0.3, "integral_read": "never"}),
        ("clip_b", {"mu": math.nan}),
        ("clip_v", {"largest_share": 0.0}),
        ("clip_v", {"scope": "global"}),
        ("temperature", {"target": 0.3, "rate": 0.0}),
        ("temperature", {"target": 0.3, "limits": (1.5, 3.0)}),
        ("entropy_bonus", {"coef": True}),
        ("skywork", {"delta": 0.0}),
        ("clip_higher", {"eps_high": -0.1}),
        ("clip_higher", {"eps_high": es.PI(0.3)}),
        ("w_reinforce", {"positive": None}),
        ("only_tokens", {"samples": "both"}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        es.make(name, **options)


@pytest.mark.parametrize("name", names())
def test_every_preset_has_its_source(name: str) -> None:
    origin = source(name)
    assert origin.paper and origin.where and origin.defaults
    assert factory(name).__doc__


def test_links_that_write_the_same_field_cannot_be_chained() -> None:
    with pytest.raises(ConfigError, match=r"'flow' and 'only_tokens' both write 'weight_BT'"):
        es.chain(es.flow(0.3), es.only_tokens())
    with pytest.raises(ConfigError, match="'clip_tokens' and 'reward_advantages' both write 'keep_BT'"):
        es.chain(es.clip_b(), es.nsr())
    with pytest.raises(ConfigError, match="made of methods"):
        es.chain("flow")  # type: ignore[arg-type]
    es.chain(es.flow(0.3), Entropic(0.5, normalizer="selected"), es.clip_v(), es.entropy_bonus(), es.clip_higher())


def test_rewards_are_asked_for() -> None:
    for name in ("nsr", "psr", "w_reinforce"):
        control = EntropyControl(es.make(name))
        assert control.method.needs_rewards
        batch = dataclasses.replace(data(0).batch(), rewards_B=None)
        with pytest.raises(DataError, match="rewards_B"):
            control.apply(es.ppo(batch), batch)
        batch = dataclasses.replace(data(0).batch(), rewards_B=torch.full((8,), 0.5))
        with pytest.raises(DataError, match=r"rewards of 0 or 1, got 0\.5"):
            control.apply(es.ppo(batch), batch)
