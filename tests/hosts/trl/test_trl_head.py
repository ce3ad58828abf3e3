"""One head for every pass: what plain TRL computes stays as it is, in any dtype, and every method measures the same."""

from __future__ import annotations

import math

import pytest
import torch
import trl.trainer.utils as trl_utils
from hosts.trl.trl_case import history, policy, trainer, weights
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

import entrostat as es
from entrostat.hosts.trl import head
from entrostat.stats import reference_stats

pytestmark = [pytest.mark.filterwarnings("default")]

MEASURING = [
    es.observe(),
    es.flow(target=1.0),
    es.entropic(target=1.0),
    es.skywork(target=3.0, start=5e-3),
    es.clip_higher(0.28),
    es.clip_v(mu=0.5),
    es.temperature(1.0),
]


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


class Ratios(GRPOTrainer):
    """Keeps the importance ratios that the loss sees, and counts the updates behind them."""

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        found = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        self.__dict__.setdefault("logps", []).append(found[0].detach().clone())
        return found

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if (old := inputs.get("old_per_token_logps")) is not None:
            mask = inputs["completion_mask"].bool()
            ratio = (self.logps[-1] - old).exp()[mask]
            self.__dict__.setdefault("ratios", []).append((self.state.global_step, ratio))
        return loss


def masked_head():
    """A policy that gives one token a logit of -inf, as a mask over the vocabulary does."""
    model = policy()
    vocabulary, width = model.lm_head.weight.shape
    biased = torch.nn.Linear(width, vocabulary)
    with torch.no_grad():
        biased.weight.copy_(model.lm_head.weight)
        biased.bias.zero_()
        biased.bias[7] = -math.inf
    biased.bias.requires_grad_(False)
    model.set_output_embeddings(biased)
    return model


def saved(directory, dtype):
    """The policy, loaded from files: TRL loads the reference policy from where the policy came from."""
    policy().save_pretrained(directory / "model")
    return AutoModelForCausalLM.from_pretrained(directory / "model", dtype=dtype)


SETTINGS = {
    "plain": {},
    "reused": {"num_iterations": 2},
    "checkpointed": {"num_iterations": 2, "gradient_checkpointing": True},
    "reference": {"num_iterations": 2, "beta": 0.1},
    "own bonus": {"entropy_coef": 0.05, "top_entropy_quantile": 0.5},
}


# Every dtype once plain and once with old log-probabilities; the other settings in the two that are trained in.
DTYPES = (torch.float32, torch.bfloat16)
OBSERVED = [(name, dtype) for name in SETTINGS for dtype in DTYPES] + [(n, torch.float16) for n in ("plain", "reused")]


@pytest.mark.parametrize(("name", "dtype"), OBSERVED, ids=str)
def test_observing_leaves_every_weight_of_plain_trl(tmp_path, dtype, name):
    after = []
    for wrap in (None, controlled(es.observe())):
        run = trainer(
            tmp_path / str(wrap is None), Ratios, saved(tmp_path, dtype), wrap=wrap, max_steps=4, **SETTINGS[name]
        )
        run.train()
        after.append(weights(run.model).float())
    moved = (after[0] - weights(policy()).to(dtype).float()).abs().max().item()
    assert moved > 1e-3
    assert (after[0] - after[1]).abs().max().item() <= torch.finfo(dtype).eps * 1e-3
    assert len(history(run, "entropy_control/measured")) == 4
    if SETTINGS[name].get("num_iterations"):
        unchanged = [ratio for step, ratio in run.ratios if step % 2 == 0]
        assert len(unchanged) == 2
        assert max((ratio - 1).abs().max().item() for ratio in unchanged) < 1e-6


def test_observing_under_autocast_changes_nothing(tmp_path):
    after = []
    for wrap in (None, controlled(es.observe())):
        run = trainer(tmp_path / str(wrap is None), Ratios, wrap=wrap, max_steps=4, num_iterations=2, bf16=True)
        run.train()
        after.append(weights(run.model))
    torch.testing.assert_close(after[0], after[1], rtol=0, atol=1e-7)
    assert max((r - 1).abs().max().item() for step, r in run.ratios if step % 2 == 0) < 1e-6


def test_where_the_head_scores_labels_alone_the_same_is_measured(tmp_path, monkeypatch):
    """As on a GPU, where TRL leaves out the positions without a label; and the advantages are not compared, for which a host
    would have to wait."""
    monkeypatch.setattr(torch, "equal", lambda *_: pytest.fail("advantages that no method touched were compared"))
    measured, tokens = [], []
    for alone in (False, True):
        monkeypatch.setattr(trl_utils, "_use_triton", lambda device, alone=alone: alone)
        run = trainer(tmp_path / str(alone), wrap=controlled(es.hold(1.0)), max_steps=3)
        run.train()
        measured.append(history(run, "entropy_control/measured"))
        tokens.append(history(run, "token_entropy/tokens"))
    assert measured[1] == pytest.approx(measured[0], rel=1e-6) and tokens[0] == tokens[1]
    assert min(tokens[0]) < 8 * 6  # some completions end before the others


@pytest.mark.parametrize("method", MEASURING, ids=lambda m: m.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_method_measures_the_same_entropy(tmp_path, dtype, method):
    kept = {}

    class First(GRPOTrainer):
        def _compute_loss(self, model, inputs):
            kept.setdefault("batch", dict(inputs))
            return super()._compute_loss(model, inputs)

    run = trainer(tmp_path, First, policy().to(dtype), wrap=controlled(method), max_steps=1, num_iterations=2)
    run.train()
    inputs, model = kept["batch"], policy().to(dtype)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    keep = inputs["completion_ids"].shape[1]
    hidden = model.model(input_ids=ids, attention_mask=attention).last_hidden_state[:, -keep - 1 : -1]
    logits = hidden.double() @ model.lm_head.weight.double().t()
    exact = reference_stats(logits, inputs["completion_ids"]).entropy[inputs["completion_mask"].bool()].mean().item()
    assert history(run, "entropy_control/measured")[0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("method", MEASURING, ids=lambda m: m.name)
def test_a_logit_of_minus_infinity_is_safe_under_every_method(tmp_path, method):
    run = trainer(tmp_path, model=masked_head(), wrap=controlled(method), max_steps=3, num_iterations=2)
    run.train()
    assert all(math.isfinite(value) for value in history(run, "entropy_control/measured"))
    trained = [p for p in run.model.parameters() if p.requires_grad]
    assert all(torch.isfinite(p).all() for p in trained)


def test_observing_a_peft_adapter_changes_nothing(tmp_path):
    peft = pytest.importorskip("peft")
    after = []
    for wrap in (None, controlled(es.observe())):
        torch.manual_seed(0)
        adapter = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        run = trainer(tmp_path, wrap=wrap, peft_config=adapter, num_iterations=2, beta=0.1)
        run.train()
        after.append(weights(run.model))
    torch.testing.assert_close(after[0], after[1], rtol=0, atol=1e-9)


def test_the_tap_is_set_once():
    head.install()
    tap = head.trl_utils._ChunkedLogProbFunction
    head.install()
    assert head.trl_utils._ChunkedLogProbFunction is tap
    assert tap.head is not tap
