"""verl's real trainer class and a real transfer queue, without workers, for the tests of the driver.

A test module imports `queue` and `clean`, which then act in all of its tests.
"""

from __future__ import annotations

import pytest
import ray
import torch
import transfer_queue as tq
from host_case import SMALL, compose
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from entrostat.hosts.verl import fields
from entrostat.stats import token_stats

NAMES = ("logp", "entropy", "baseline")
FLOW = ("+entrostat.method.name=flow", "+entrostat.method.target=1.0")


@pytest.fixture(scope="module", autouse=True)
def queue():
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    tq.init(compose(*SMALL).transfer_queue)
    yield
    tq.close()
    ray.shutdown()


@pytest.fixture(autouse=True)
def clean():
    yield
    for partition, items in (tq.kv_list() or {}).items():
        if items:
            tq.kv_clear(keys=list(items), partition_id=partition)


def trainer(*overrides, mode="entrostat_sync"):
    config = compose(*SMALL, f"trainer.v1.trainer_mode={mode}", *overrides)
    built = get_trainer_cls(mode)(config)
    built.global_steps = 1
    return built


def put(rows, keys):
    tags = [{"seq_len": len(row["input_ids"]), "min_global_steps": 0, "max_global_steps": 0} for row in rows]
    return tq.kv_batch_put(keys=keys, partition_id="train", fields=list_of_dict_to_tensordict(rows), tags=tags)


def row(uid, stats, reward, mask=None, prompt=3, names=NAMES):
    """One trajectory as the agent loop and the workers leave it in the queue."""
    length = len(stats["logp"])
    scores = torch.zeros(length)
    scores[-1] = reward
    # A number per token of prompt and response, each at the position before its token.
    full = {
        fields.STATISTIC.format(n): torch.cat([torch.full((prompt - 1,), torch.nan), stats[n], torch.zeros(1)])
        for n in names
    }
    mask = torch.ones(length, dtype=torch.long) if mask is None else mask
    return {
        "uid": uid,
        "prompts": torch.ones(prompt, dtype=torch.long),
        "responses": torch.ones(length, dtype=torch.long),
        "input_ids": torch.ones(prompt + length, dtype=torch.long),
        "position_ids": torch.arange(prompt + length),
        "response_mask": mask,
        "loss_mask": mask.clone(),
        "rm_scores": scores,
        "rollout_log_probs": stats["logp"].clone(),
        "old_log_probs": stats["logp"].clone(),
        "entropy": stats["entropy"].clone(),
        **full,
    }


def random_rows(seed=0, groups=2, size=4, names=NAMES, gap=False):
    generator = torch.Generator().manual_seed(seed)
    rows, keys = [], []
    for group in range(groups):
        for sample in range(size):
            length = 3 + (sample + group) % 4
            logits = 2 * torch.randn(length, 7, generator=generator)
            targets = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
            stats = token_stats(logits, targets, NAMES)
            mask = torch.ones(length, dtype=torch.long)
            mask[1] = int(not gap)  # as the output of a tool would be
            values = {n: getattr(stats, n) for n in NAMES}
            rows.append(row(f"u{group}", values, float((sample + group) % 3 == 0), mask, names=names))
            keys.append(f"u{group}_{sample}_0")
    return rows, keys


def got(batch, *names):
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=list(names))
    return [data[name].to_padded_tensor(0) for name in names]
