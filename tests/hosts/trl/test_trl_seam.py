"""Subclasses that call the seam otherwise than TRL does: the pass of the loss is the one that is controlled, once a step."""

from __future__ import annotations

import pytest
import torch
from hosts.trl.trl_case import history, trainer, watching, weights
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.errors import HostError

pytestmark = [pytest.mark.filterwarnings("default")]

FLOW = es.chain(es.methods.Flow(0.7, scope="micro"))


def trained(directory, cls, method, **settings):
    run = trainer(directory, cls, wrap=lambda base: es.trl.controlled(base, method), **settings)
    run.train()
    return run


def scored(run, inputs):
    """Log-probabilities of a micro-batch, as a subclass would ask for them."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    return run._get_per_token_logps_and_entropies(run.model, ids, mask, inputs["completion_ids"].size(1))[0]


class Before(GRPOTrainer):
    """Scores its batch without a gradient first, as one does for a reference or for the old policy."""

    def _compute_loss(self, model, inputs):
        with torch.no_grad():
            scored(self, inputs)
        return super()._compute_loss(model, inputs)


class Again(GRPOTrainer):
    """Scores its batch twice with a gradient."""

    def _compute_loss(self, model, inputs):
        return super()._compute_loss(model, inputs) + 0 * scored(self, inputs).sum()


class Averaged(GRPOTrainer):
    """Computes each loss twice."""

    def compute_loss(self, model, inputs, **options):
        return (self._compute_loss(model, inputs) + self._compute_loss(model, inputs)) / 2


@pytest.mark.parametrize("method", [FLOW, es.entropy_bonus(coef=0.3)], ids=["flow", "bonus"])
def test_a_pass_without_gradient_is_not_the_loss(tmp_path, method):
    plain = trained(tmp_path / "plain", GRPOTrainer, method)
    run = trained(tmp_path / "before", Before, method)
    assert torch.equal(weights(run.model), weights(plain.model))


def test_a_loss_from_two_passes_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(HostError, match="'flow' acts only through the first"):
        trained(tmp_path / "flow", Again, FLOW)
    run = trained(tmp_path / "observe", Again, es.observe())
    assert len(history(run, "entropy_control/measured")) == 3


def test_two_controller_steps_in_one_optimizer_step_are_refused(tmp_path):
    with pytest.raises(HostError, match=r"took one optimizer step and the controller 2: .*Call _compute_loss once"):
        trained(tmp_path, Averaged, es.hold(0.5))


def test_rloo_sees_the_ratios_of_its_tokens(tmp_path):
    """RLOO keeps sums of log-probabilities alone; without its tokens' own a stale batch would pass for a fresh one."""
    run = trainer(
        tmp_path,
        watching(RLOOTrainer),
        wrap=lambda base: es.trl.controlled(base, es.observe()),
        num_iterations=2,
        max_steps=2,
    )
    seen, apply = [], run.entropy_control.apply
    run.entropy_control.apply = lambda surrogate, batch: (seen.append(batch), apply(surrogate, batch))[1]
    run.train()
    first, second = ((batch.ratio - 1)[batch.mask].abs().max() for batch in seen)
    assert first < 1e-5 < 0.05 < second
    assert len(history(run, "entropy_control/sampling_gap")) == 1  # of the batch that this policy sampled


def test_the_hosts_weight_is_in_push_and_loss_alike():
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    batch = es.TokenBatch(
        es.TokenStats(logp=logp), torch.tensor([2.0]), torch.ones(1, 2), host_weight_BT=torch.tensor([[0.5, 0.0]])
    )
    es.methods.loss(es.methods.ppo(batch), batch).backward()
    push = es.methods.token_push(es.methods.ppo(batch), batch)
    assert push.tolist() == [[1.0, 0.0]]
    assert torch.equal(-logp.grad * 2, push)  # a mean over two tokens
    assert torch.equal(batch.rows(slice(0, 1)).host_weight_BT, batch.host_weight_BT)


def test_stale_rows_are_out_of_push_and_loss_alike():
    logp = torch.full((3, 2), -1.0, requires_grad=True)
    stale = torch.tensor([True, True, False])
    batch = es.TokenBatch(es.TokenStats(logp=logp), torch.tensor([2.0, -2.0, -2.0]), torch.ones(3, 2), stale_B=stale)
    es.methods.loss(es.methods.ppo(batch), batch).backward()
    push = es.methods.token_push(es.methods.ppo(batch), batch)
    assert push.tolist() == [[2.0, 2.0], [0.0, 0.0], [-2.0, -2.0]]
    torch.testing.assert_close(-logp.grad * 6, push)
    assert torch.equal(batch.rows(slice(1, 3)).stale_B, stale[1:])


def _rows(output, choose):
    """A generation batch with some of its rows, or in another order."""
    rows = len(output["advantages"])
    return {
        name: choose(value) if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value
        for name, value in output.items()
    }


class Chosen:
    """Trains on half of what was generated, as one does who leaves groups or completions out."""

    def _generate_and_score_completions(self, inputs):
        return _rows(super()._generate_and_score_completions(inputs), lambda value: value[len(value) // 2 :])


class Turned:
    """Trains on what was generated in another order."""

    def _generate_and_score_completions(self, inputs):
        return _rows(super()._generate_and_score_completions(inputs), lambda value: value.flip(0))


def over(mixin, cls):
    return type(f"{mixin.__name__}{cls.__name__}", (mixin, cls), {})


@pytest.mark.parametrize("mixin", [Chosen, Turned])
def test_other_rows_than_those_scored_are_refused_beside_a_method_that_reads_them(tmp_path, mixin):
    for method in (es.make("psr"), es.make("pass_at_k", k=2), es.make("qae")):
        with pytest.raises(HostError, match=r"other rows than those that it scored.* return None for those"):
            trained(tmp_path, over(mixin, GRPOTrainer), method)
    with pytest.raises(HostError, match="other rows"):  # RLOO's ratios of tokens, which travel with the rows
        trained(tmp_path, over(mixin, RLOOTrainer), FLOW, num_iterations=2)


@pytest.mark.parametrize("mixin", [Chosen, Turned])
def test_a_method_that_reads_no_row_holds_beside_a_choice_of_them(tmp_path, mixin):
    run = trained(tmp_path, over(mixin, GRPOTrainer), es.hold(target="0.75 * initial"), max_steps=2)
    assert len(history(run, "entropy_control/output")) == 2
