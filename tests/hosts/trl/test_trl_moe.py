"""A mixture of experts: the router's auxiliary loss is TRL's own, and no method weights it."""

from __future__ import annotations

import pytest
import torch
from hosts.trl.trl_case import SHAPE, history, trainer, weights
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es

pytestmark = [pytest.mark.filterwarnings("default")]


def experts():
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        **SHAPE,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        head_dim=12,
        num_experts=4,
        num_experts_per_tok=2,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
    )
    return Qwen3MoeForCausalLM(config)


def constant(prompts, completions, **_):
    """Reward: the same for all, so that every advantage is 0 and the auxiliary loss alone trains."""
    return [1.0] * len(completions)


@pytest.mark.parametrize("reward", [None, constant], ids=["observe", "a method without advantages"])
@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda cls: cls.__name__)
def test_the_auxiliary_loss_is_the_host_s(tmp_path, cls, reward):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_iterations": 2, "max_steps": 4}
    settings |= {"reward": reward} if reward else {}
    method = es.flow(1.0) if reward else es.observe()
    plain = trainer(tmp_path / "a", cls, model=experts(), **settings)
    plain.train()
    ours = trainer(tmp_path / "b", cls, model=experts(), wrap=lambda c: es.trl.controlled(c, method), **settings)
    ours.train()
    assert torch.equal(weights(plain.model), weights(ours.model))
    assert not torch.equal(weights(experts()), weights(ours.model))
    assert history(ours, "aux_loss") == history(plain, "aux_loss") and len(history(ours, "aux_loss")) == 4
