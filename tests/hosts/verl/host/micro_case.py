"""A micro-batch as a training worker has it, for the tests of the loss, and what a loss does to its entropy."""

from __future__ import annotations

import torch
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPActorConfig, FSDPEngineConfig
from verl.workers.utils.padding import response_to_nested

from entrostat.hosts.verl import fields
from entrostat.stats import token_stats
from entrostat.types import TokenBatch

PROMPT, LENGTHS, VOCABULARY = 3, [4, 2, 5], 7


def config(**changes):
    engine = FSDPEngineConfig(strategy="fsdp2")
    plain = {"strategy": "fsdp2", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 3, "fsdp_config": engine}
    return FSDPActorConfig(**(plain | changes))


class Micro:
    """A micro-batch with logits as leaves, as the engine hands it to the loss."""

    def __init__(self, drift=0.0, lengths=LENGTHS):
        draw = torch.Generator().manual_seed(0)
        self.lengths = lengths
        rows, longest = len(lengths), max(lengths)
        self.logits = (2 * torch.randn(rows, longest, VOCABULARY, generator=draw)).requires_grad_()
        self.targets = torch.multinomial(self.logits.softmax(-1).flatten(0, 1), 1, generator=draw).view(rows, longest)
        self.mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        some = torch.tensor([1.0, -0.5, -1.2])
        self.advantages = some[torch.arange(rows) % len(some)][:, None].expand(rows, longest)
        self.stats = token_stats(self.logits, self.targets, ("logp", "entropy", "baseline"))
        noise = drift * torch.randn(self.mask.shape, generator=draw)
        self.old = (self.stats.logp.detach() + noise).masked_fill(self.mask == 0, 0)
        self.like = self.nested(self.mask)

    def nested(self, padded):
        rows = [row[:length] for row, length in zip(padded, self.lengths, strict=True)]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    def full(self, padded):
        """As a model's output: a number per token of prompt and response, each at the position before its token."""
        rows = [
            torch.cat([padded.new_zeros(PROMPT - 1), row[:length], padded.new_zeros(1)])
            for row, length in zip(padded, self.lengths, strict=True)
        ]
        offsets = torch.tensor([0, *self.lengths]).cumsum(0) + PROMPT * torch.arange(len(self.lengths) + 1)
        return torch.nested.nested_tensor_from_jagged(torch.cat(rows), offsets)

    def batch(self):
        return TokenBatch(self.stats, self.advantages, self.mask)

    def data(self, update=None, weight=None, **settings):
        tensors = {
            "response_mask": self.like,
            "old_log_probs": self.nested(self.old),
            "advantages": self.nested(self.advantages if update is None else update.advantages_BT),
            "prompts": torch.nested.as_nested_tensor([torch.ones(PROMPT)] * len(self.lengths), layout=torch.jagged),
            "responses": self.nested(self.targets),
        }
        if weight is not None:
            tensors[fields.WEIGHT] = self.nested(weight)
        if update is not None:
            for of, factor in update.terms.items():
                tensors[fields.TERM.format(of)] = response_to_nested(factor, self.like)
            if update.clip is not None:
                settings[fields.CLIP] = update.clip
        plain = {"dp_size": 1, "batch_num_tokens": sum(self.lengths), "global_batch_size": len(self.lengths)}
        return tu.get_tensordict(tensors, non_tensor_dict=plain | settings)

    def outputs(self):
        return {"log_probs": self.full(self.stats.logp), "entropy": self.full(self.stats.entropy)}


def change_of(loss, micro):
    """What the loss's gradients do to the entropy, to first order: by the log-probabilities, and by the entropies."""
    stats = micro.stats
    push, slope = torch.autograd.grad(loss, (stats.logp, stats.entropy), allow_unused=True, materialize_grads=True)
    seen = stats.detach()
    # |dH / dlogits|^2 as the sampled token tells it.
    along = seen.prob * (seen.entropy + seen.logp).square()
    return float(((push * seen.centered - slope * along) * micro.mask).sum())


def gradient(loss, micro):
    return torch.autograd.grad(loss, micro.logits, retain_graph=True)[0]
