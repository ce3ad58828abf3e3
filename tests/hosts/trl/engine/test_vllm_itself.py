"""TRL with vLLM itself, colocated on a CPU (`make test-vllm`): the entropy is that of what vLLM samples from.

The same claims as test_trl_vllm.py, which needs no vLLM. vLLM's own log-probabilities of the whole vocabulary are the judge.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import vllm
from hosts.trl.trl_case import TOKENIZER, history, trainer
from transformers import LlamaConfig, LlamaForCausalLM
from trl.generation import vllm_generation
from vllm.model_executor.layers import utils as layers

import entrostat as es

pytestmark = pytest.mark.filterwarnings("default")
DIFFERENCE = "sampling/sampling_logp_difference/max"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy with heads of 64, which vLLM's attention on a CPU can do, as a folder that vLLM loads."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 64}
    tokens = {"pad_token_id": TOKENIZER.pad_token_id, "eos_token_id": TOKENIZER.eos_token_id, "bos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENIZER), **shape, **heads, **tokens))
    with torch.no_grad():  # sharp enough that tokens differ in probability
        model.lm_head.weight.mul_(8)
    path = tmp_path_factory.mktemp("policy")
    model.save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return path


class Overheard:
    """vLLM's engine, asked for every token's log-probability: notes the mean entropy, and passes on what TRL asked for."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.entropies: list[float] = []
        self.temperatures: list[float] = []

    def __call__(self, **settings: Any) -> Any:
        engine = vllm.LLM(**settings, dtype=self.dtype, enforce_eager=True, max_logprobs=-1)
        generate = engine.generate

        def overheard(prompts: Any, sampling_params: Any, **more: Any) -> Any:
            asked = sampling_params.clone()
            asked.logprobs = -1
            outputs = generate(prompts, sampling_params=asked, **more)
            each = []
            for completion in (completion for output in outputs for completion in output.outputs):
                for at, (token, found) in enumerate(zip(completion.token_ids, completion.logprobs, strict=True)):
                    kept = [entry.logprob for entry in found.values() if entry.logprob > -math.inf]
                    each.append(-math.fsum(math.exp(logp) * logp for logp in kept))
                    completion.logprobs[at] = {token: found[token]}
            self.entropies.append(math.fsum(each) / len(each))
            self.temperatures.append(asked.temperature)
            return outputs

        engine.generate = overheard
        return engine


@pytest.fixture
def overheard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Overheard:
    heard = Overheard(getattr(request, "param", "float32"))
    monkeypatch.setattr(vllm_generation, "LLM", heard)
    monkeypatch.setattr(layers, "dispatch_cpu_unquantized_gemm", _unpacked)
    return heard


def _unpacked(layer: torch.nn.Module, remove_weight: bool) -> None:
    """On a CPU vLLM packs its weights and throws them away, so that it could take no new ones."""
    layer.cpu_linear = torch.nn.functional.linear


def trained(tmp_path: Path, folder: Path, method: Any, **settings: Any) -> Any:
    run = trainer(
        tmp_path, model=str(folder), wrap=lambda cls: es.trl.controlled(cls, method),
        use_vllm=True, vllm_mode="colocate", vllm_max_model_length=32, model_init_kwargs={"dtype": "float32"}, **settings,
    )  # fmt: skip
    run.train()
    return run


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.8}], ids=str)
def test_the_entropy_is_that_of_what_vllm_samples_from(tmp_path, folder, overheard, settings):
    run = trained(tmp_path, folder, es.hold(1.0), **settings)
    assert len(set(overheard.entropies)) == 3  # each step from new weights
    assert history(run, "entropy_control/measured") == pytest.approx(overheard.entropies, rel=1e-4)
    if not {"top_k", "top_p"} & settings.keys():  # TRL scores the whole softmax
        assert max(history(run, DIFFERENCE)) < 1e-3


def test_a_commanded_temperature_reaches_vllm(tmp_path, folder, overheard):
    run = trained(tmp_path, folder, es.temperature(controller=-10.0, rate=0.02), temperature=0.8)
    assert overheard.temperatures == pytest.approx([0.8 * math.exp(0.2 * step) for step in range(3)])
    assert history(run, "entropy_control/measured") == pytest.approx(overheard.entropies, rel=1e-4)
    assert max(history(run, DIFFERENCE)) < 1e-3


@pytest.mark.parametrize("overheard", ["auto"], indirect=True)
def test_at_vllms_own_precision_the_entropy_is_near(tmp_path, folder, overheard):
    """Weights in fp32 are bf16 in vLLM, unless it is told otherwise; TRL does not tell it."""
    run = trained(tmp_path, folder, es.hold(1.0))
    assert history(run, "entropy_control/measured") == pytest.approx(overheard.entropies, rel=0.01)
    assert 1e-3 < max(history(run, DIFFERENCE)) < 0.1
