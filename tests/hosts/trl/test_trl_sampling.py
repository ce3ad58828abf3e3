"""The entropy is that of the policy that sampled: temperature and support as generation reads them, or a refusal."""

from __future__ import annotations

import math

import pytest
import torch
from hosts.trl.trl_case import history, policy, trainer
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from trl import GRPOTrainer

import entrostat as es
from entrostat.errors import HostError
from entrostat.hosts.trl.head import Projection
from entrostat.hosts.trl.sampling import Sampling
from entrostat.stats import reference_stats

pytestmark = [pytest.mark.filterwarnings("default")]


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


class First(GRPOTrainer):
    """Keeps the first batch, before it changes the policy."""

    def _compute_loss(self, model, inputs):
        self.__dict__.setdefault("batch", dict(inputs))
        return super()._compute_loss(model, inputs)


def acting_entropy(batch, *warpers):
    """The mean entropy of what transformers' own warpers leave of the first policy's logits, in fp64."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    keep = batch["completion_ids"].shape[1]
    with torch.no_grad():
        scores = (
            policy()(input_ids=ids, attention_mask=attention)
            .logits[:, -keep - 1 : -1]
            .reshape(-1, policy().config.vocab_size)
        )
    for warper in warpers:
        scores = warper(None, scores)
    stats = reference_stats(scores.double(), batch["completion_ids"].reshape(-1))
    return stats.entropy[batch["completion_mask"].reshape(-1).bool()].mean().item()


CASES = {
    "top_k": ({"top_k": 2}, [TopKLogitsWarper(2)]),
    "top_p": ({"top_p": 0.7}, [TopPLogitsWarper(0.7)]),
    "min_p": ({"min_p": 0.3}, [MinPLogitsWarper(0.3)]),
    "all": (
        {"top_k": 9, "top_p": 0.9, "min_p": 0.05, "temperature": 0.8},
        [TemperatureLogitsWarper(0.8), TopKLogitsWarper(9), TopPLogitsWarper(0.9), MinPLogitsWarper(0.05)],
    ),
    "temperature by another door": ({"generation_kwargs": {"temperature": 0.5}}, [TemperatureLogitsWarper(0.5)]),
    "top_k by another door": ({"generation_kwargs": {"top_k": 3}}, [TopKLogitsWarper(3)]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", [es.observe(), es.skywork(target=3.0)], ids=lambda m: m.name)
def test_the_entropy_is_that_of_the_acting_policy(tmp_path, name, method):
    settings, warpers = CASES[name]
    run = trainer(tmp_path, First, wrap=controlled(method), max_steps=1, **settings)
    run.train()
    exact = acting_entropy(run.batch, *warpers)
    assert history(run, "entropy_control/measured")[0] == pytest.approx(exact, rel=1e-5)
    if name == "top_k":
        assert exact <= math.log(2)


def test_the_models_own_generation_config_is_read(tmp_path):
    model = policy()
    model.generation_config.min_p = 0.3  # TRL leaves it unset, so generation reads it here
    run = trainer(tmp_path, First, model, wrap=controlled(es.observe()), max_steps=1)
    run.train()
    assert history(run, "entropy_control/measured")[0] == pytest.approx(
        acting_entropy(run.batch, MinPLogitsWarper(0.3)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
        ({"generation_kwargs": {"no_repeat_ngram_size": 3}}, "no_repeat_ngram_size=3"),
        ({"generation_kwargs": {"typical_p": 0.9}}, "typical_p=0.9"),
        ({"generation_kwargs": {"do_sample": False}}, "do_sample=False"),
        ({"generation_kwargs": {"min_new_tokens": 2}}, "min_new_tokens=2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_scored_is_refused_with_the_way_out(tmp_path, settings, named):
    with pytest.raises(HostError, match=rf"sampled with {named}.*Leave"):
        trainer(tmp_path, wrap=controlled(es.observe()), **settings)


def test_a_moving_temperature_starts_from_the_one_that_samples(tmp_path):
    heating = es.temperature(controller=-10.0, rate=0.02)
    run = trainer(
        tmp_path, wrap=controlled(heating), max_steps=2, generation_kwargs={"temperature": 0.5}, eval_strategy="no"
    )
    run.train()
    assert run.generation_config.temperature == pytest.approx(0.5 * math.exp(0.2))
    assert run.temperature == pytest.approx(math.exp(0.2))


def test_evaluation_is_sampled_at_the_temperature_of_the_run(tmp_path):
    class Watch(GRPOTrainer):
        def _generate_single_turn(self, *args, **kwargs):
            self.__dict__.setdefault("sampled", []).append((self.model.training, self.generation_config.temperature))
            return super()._generate_single_turn(*args, **kwargs)

    heating = es.temperature(controller=-10.0, rate=0.02)
    run = trainer(tmp_path, Watch, wrap=controlled(heating), max_steps=2, temperature=0.8)
    run.train()
    run.evaluate(run.train_dataset)
    assert {t for training, t in run.sampled if not training} == {0.8}
    assert [t for training, t in run.sampled if training] == pytest.approx([0.8, 0.8 * math.exp(0.2)])


SAMPLING = {
    "support": Sampling(1.0, 1.0, top_k=3),
    "nucleus": Sampling(0.7, 0.7, top_p=0.8),
    "temperatures": Sampling(0.6, 1.0),
    "both": Sampling(0.9, 1.1, top_k=5, min_p=0.02, suppressed=(2,)),
}


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("hidden", [True, False])
def test_the_discriminator_is_the_first_order_change_of_the_acting_entropy(name, hidden):
    """One step on the log-probability that the loss sees moves the acting entropy by -a D, against a finite difference."""
    torch.manual_seed(1)
    sampling, rows, vocabulary, width = SAMPLING[name], 6, 11, 4
    h, w = torch.randn(rows, width), torch.randn(vocabulary, width) * 2
    z = h @ w.t()
    targets = z.topk(2, -1).indices[:, 1]
    seen = Projection(targets, hidden_Nd=h, weight_Vd=w) if hidden else Projection(targets, logits_NV=z)
    found = sampling.stats(seen, frozenset({"logp", "entropy", "baseline", "collision"}))

    def acting(logits, inside):
        scores = (logits / sampling.temperature).masked_fill(~inside, -math.inf)
        return reference_stats(scores, targets)

    wide = z.double()
    inside = sampling._cut(z / sampling.temperature, targets) > -math.inf
    now = acting(wide, inside)
    torch.testing.assert_close(found.entropy.double(), now.entropy, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logp.double(), now.logp, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.collision.double(), now.collision, atol=1e-5, rtol=1e-5)
    step = 1e-6  # the difference's error is of order step, its rounding of order 1e-16 / step
    push = torch.nn.functional.one_hot(targets, vocabulary) - (wide / sampling.scored).softmax(-1)
    # In units of the logits that the sampler sees, as everywhere in the library.
    change = (acting(wide + step * push, inside).entropy - now.entropy) / step * sampling.temperature
    torch.testing.assert_close(-found.centered.double(), change, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_the_acting_entropy():
    torch.manual_seed(2)
    sampling = Sampling(0.8, 0.8, top_k=4)
    h = torch.randn(5, 3, requires_grad=True)
    w = torch.randn(9, 3)
    targets = (h.detach() @ w.t()).argmax(-1)
    entropy = sampling.stats(Projection(targets, hidden_Nd=h, weight_Vd=w), frozenset({"logp", "entropy"})).entropy
    (found,) = torch.autograd.grad(entropy.sum(), h)
    scores = TopKLogitsWarper(4)(None, (h @ w.t()) / 0.8)
    logp = scores.log_softmax(-1)
    exact = -(logp.exp() * logp.masked_fill(logp == -math.inf, 0)).sum()
    (expected,) = torch.autograd.grad(exact, h)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_was_sampled_is_in_the_support():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    found = Sampling(1.0, 1.0, top_k=2).stats(
        Projection(torch.tensor([3]), logits_NV=logits), frozenset({"logp", "entropy"})
    )
    assert found.logp.item() == pytest.approx(-math.log(1 + math.exp(3) + math.exp(2)), rel=1e-6)
