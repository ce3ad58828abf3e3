"""The real FSDP2 engine, no Ray: its extra statistics against a plain forward pass of the same weights."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from host_case import tiny_folder
from transformers import AutoModelForCausalLM, LlamaForCausalLM
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.engine import EngineRegistry

import entrostat.hosts.verl.engine as ours
import entrostat.hosts.verl.fused_head as fused_head
from entrostat.hosts.verl import fields
from entrostat.stats import reference_stats

WANT = ["baseline", "collision", "entropy", "logp"]
PROMPTS, RESPONSES = [5, 7, 6], [9, 3, 12]
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    if not torch.distributed.is_initialized():
        initialize_global_process_group_ray()
    yield tiny_folder(tmp_path_factory.mktemp("tiny"))
    torch.distributed.destroy_process_group()


def engine(folder, packed, fused=False, dtype="fp32"):
    model = HFModelConfig(
        path=str(folder),
        use_remove_padding=packed,
        use_fused_kernels=fused,
        fused_kernel_options={"impl_backend": "torch"},
        enable_gradient_checkpointing=False,
        override_config={"attn_implementation": "sdpa"},
    )
    precision = {"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    built = EngineRegistry.new(
        model_type="language_model",
        backend="fsdp2",
        model_config=model,
        engine_config=FSDPEngineConfig(
            strategy="fsdp2", use_torch_compile=False, mixed_precision=precision, use_fused_kernels=fused
        ),
        optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
        checkpoint_config=CheckpointConfig(),
    )
    built.initialize()
    return built


def sequences():
    torch.manual_seed(0)
    return [torch.randint(2, 21, (p + r,)) for p, r in zip(PROMPTS, RESPONSES, strict=True)]


def batch(packed, fused=False, **settings):
    def nested(rows):
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    rows = sequences()
    tensors = {
        "input_ids": nested(rows),
        "position_ids": nested([torch.arange(len(row)) for row in rows]),
        "prompts": nested([row[:p] for row, p in zip(rows, PROMPTS, strict=True)]),
        "responses": nested([row[p:] for row, p in zip(rows, PROMPTS, strict=True)]),
        "response_mask": nested([torch.ones(r, dtype=torch.long) for r in RESPONSES]),
        "loss_mask": nested([torch.ones(r, dtype=torch.long) for r in RESPONSES]),
    }
    plain = {
        "temperature": TEMPERATURE,
        "calculate_entropy": True,
        "use_remove_padding": packed,
        "use_dynamic_bsz": False,
        "micro_batch_size_per_gpu": 1 if packed else 3,
        "max_token_len_per_gpu": 64,
        "use_fused_kernels": fused,
    }
    return tu.get_tensordict(tensors, non_tensor_dict=plain | settings)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("fused", [False, True], ids=["logits", "fused"])
def test_statistics_equal_a_plain_forward(folder, packed, fused, monkeypatch):
    # verl patches the class itself for fused kernels: put back afterwards.
    monkeypatch.setattr(LlamaForCausalLM, "forward", LlamaForCausalLM.forward)
    built = engine(folder, packed, fused)
    assert type(built) is ours.StatisticsEngine
    with built.eval_mode():
        output = built.infer_batch(batch(packed, fused, **{fields.WANT: WANT}))["model_output"]
        # verl's own fused head cannot run here: FSDP2 shards an untied head by itself, and nothing gathers it.
        silent = None if fused else built.infer_batch(batch(packed))["model_output"]
    monkeypatch.undo()
    plain = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    for i, row in enumerate(sequences()):
        with torch.no_grad():
            logits = plain(row[None]).logits[0].double()
        reference = reference_stats(logits, row.roll(-1), TEMPERATURE)
        for name in WANT:
            # The last position of a row has no next token, and verl never reads it.
            got = output[fields.STATISTIC.format(name)][i][:-1].cpu()
            expected = getattr(reference, name)[:-1].float()
            assert torch.allclose(got, expected, rtol=1e-5, atol=2e-6), name
        if silent is not None:
            assert not [name for name in silent if name.startswith(fields.PREFIX)]
            assert torch.equal(output["log_probs"][i], silent["log_probs"][i])
        assert torch.allclose(output["log_probs"][i][:-1].cpu(), reference.logp[:-1].float(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_dynamic_micro_batches_come_back_in_order(folder, packed):
    built, cut = engine(folder, packed), {"use_dynamic_bsz": True, "max_token_len_per_gpu": 24}
    with built.eval_mode():
        whole, parts = (
            built.infer_batch(batch(packed, **{fields.WANT: WANT}, **settings))["model_output"]
            for settings in ({}, cut)
        )
    for name in WANT:
        for one, other in zip(*(each[fields.STATISTIC.format(name)].unbind() for each in (whole, parts)), strict=True):
            assert torch.allclose(one[:-1], other[:-1], rtol=1e-5, atol=2e-6), name


def test_statistics_are_exact_in_bf16(folder):
    """verl's own entropy rounds with the logits; ours is that of the very logits, in fp32."""
    built = engine(folder, True, dtype="bf16")
    seen = []
    original = ours.token_stats

    def spy(logits, *args):
        seen.append((logits.clone(), *args))
        return original(logits, *args)

    ours.token_stats = spy
    try:
        with built.eval_mode():
            output = built.infer_batch(batch(True, **{fields.WANT: WANT}))["model_output"]
    finally:
        ours.token_stats = original
    assert seen[0][0].dtype == torch.bfloat16
    for i, (logits, targets, _, temperature) in enumerate(seen):
        reference = reference_stats(logits.double(), targets, temperature)
        for name in WANT:
            got, expected = output[fields.STATISTIC.format(name)][i].cpu(), getattr(reference, name).float().cpu()
            assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6), name


def test_the_fused_head_is_put_back(folder, monkeypatch):
    monkeypatch.setattr(LlamaForCausalLM, "forward", LlamaForCausalLM.forward)
    before = fused_head.fused.FusedLinearForPPO
    built = engine(folder, True, True)
    with built.eval_mode():
        built.infer_batch(batch(True, True, **{fields.WANT: WANT}))
    assert fused_head.fused.FusedLinearForPPO is before
