"""One rank of two that share a vocabulary; both compare with the statistics of the whole."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from entrostat.hosts.verl.vocab_parallel import HERE, vocab_parallel_stats
from entrostat.stats import reference_stats


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    logits = 6 * torch.randn(1, 37, 22)
    logits[0, 3, 5:] = -torch.inf  # the whole share of the second rank
    logits[0, 4] = 100 * logits[0, 4]
    targets = torch.randint(0, 22, (1, 37))
    targets[0, 3] = 2
    temperature = torch.linspace(0.5, 1.5, 37)[None]
    share = logits[..., 11 * dist.get_rank() : 11 * dist.get_rank() + 11].clone()
    before = share.clone()
    ours = vocab_parallel_stats(share, targets, HERE, temperature, chunk_tokens=8)
    assert torch.equal(share, before)
    whole = reference_stats((logits / temperature[..., None]).double(), targets)
    for name in HERE:
        worst = (getattr(ours, name) - getattr(whole, name)).abs().max().item()
        assert worst < 2e-6 * max(1.0, getattr(whole, name).abs().max().item()), (name, worst)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.exit(0)
