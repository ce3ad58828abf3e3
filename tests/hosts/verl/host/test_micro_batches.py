"""Losses whose mean is that of a micro-batch: what is foreseen against verl's own cut and the backward passes of its own loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from environment import for_cpu
from micro_case import PROMPT, Micro, change_of, config
from verl.utils import tensordict_utils as tu
from verl.workers.config import PolicyLossConfig
from verl.workers.engine.utils import prepare_micro_batches

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.hosts.verl.batch import control_batch, divisors_of
from entrostat.hosts.verl.loss import controlled_loss
from entrostat.hosts.verl.loss_modes import aggregation_of, micro_mean
from entrostat.hosts.verl.micro_batches import micro_batches, row_weights

ROWS, MINI = [4, 2, 5, 1, 7, 3, 3, 6], 4
GEO_MEAN = {"policy_loss": PolicyLossConfig(loss_mode="geo_mean")}
BY_LONGEST = {"loss_agg_mode": "seq-mean-token-sum-norm"}


def updates(actor, micro, update, ranks):
    """The losses of all micro-batches, cut as verl's workers cut a batch (`train_mini_batch`, `forward_backward_batch`)."""
    whole = micro.data(update)
    whole["row"] = torch.arange(len(ROWS))
    whole["input_ids"] = micro.full(micro.targets)
    for rank, rows in enumerate(torch.arange(len(ROWS)).chunk(ranks)):
        minis = tu.make_iterator(
            tu.index_select_tensor_dict(whole, rows),
            mini_batch_size=MINI // ranks,
            epochs=actor.ppo_epochs,
            seed=actor.data_loader_seed + rank,
            dataloader_kwargs={"shuffle": actor.shuffle},
        )
        for mini in minis:
            tu.assign_non_tensor(
                mini,
                use_dynamic_bsz=actor.use_dynamic_bsz,
                max_token_len_per_gpu=actor.ppo_max_token_len_per_gpu,
                micro_batch_size_per_gpu=actor.ppo_micro_batch_size_per_gpu,
                global_batch_size=MINI,
                dp_size=ranks,
            )
            for data in prepare_micro_batches(mini)[0]:
                yield controlled_loss(actor, outputs(micro, data["row"]), data)[0]


def outputs(micro, rows):
    found = {}
    for name, values in micro.outputs().items():
        each = [values.unbind()[row] for row in rows.tolist()]
        offsets = torch.tensor([0, *map(len, each)]).cumsum(0)
        found[name] = torch.nested.nested_tensor_from_jagged(torch.cat(each), offsets)
    return found


@pytest.mark.parametrize("settings", [GEO_MEAN, BY_LONGEST], ids=["geo_mean", "longest response"])
@pytest.mark.parametrize(
    ("ranks", "cut"),
    [
        (1, {"ppo_micro_batch_size_per_gpu": 4}),
        (1, {"ppo_micro_batch_size_per_gpu": 2}),
        (1, {"ppo_micro_batch_size_per_gpu": 1, "ppo_epochs": 2}),
        (2, {"ppo_micro_batch_size_per_gpu": 1}),
        (2, {"ppo_micro_batch_size_per_gpu": 1, "shuffle": True, "ppo_epochs": 3}),
        (1, {"use_dynamic_bsz": True, "ppo_max_token_len_per_gpu": 16}),
        (1, {"use_dynamic_bsz": True, "ppo_max_token_len_per_gpu": 12, "shuffle": True, "ppo_epochs": 2}),
    ],
    ids=["one", "two", "epochs", "ranks", "shuffled", "dynamic", "dynamic, shuffled"],
)
def test_predicted_is_what_the_backward_passes_do(settings, ranks, cut):
    actor = config(**settings, **cut, ppo_mini_batch_size=MINI)
    micro, mean = Micro(lengths=ROWS), aggregation_of(actor)
    micros = micro_batches(actor, [PROMPT + length for length in ROWS], 1, ranks)
    weights = row_weights(micro_mean(actor), micros, torch.tensor(ROWS), MINI // ranks)
    method = es.observe() if settings is GEO_MEAN else es.chain(es.flow(0.4), es.observe())
    batch = replace(
        micro.batch(),
        divisors=divisors_of(mean, micro.mask, MINI),
        host_weight_BT=weights.unsqueeze(1).expand(micro.mask.shape),
    )
    update = control_batch(EntropyControl(method), batch, mean, (0.2, 0.2, 3.0))
    steps = len(ROWS) // MINI * actor.ppo_epochs
    change = sum(change_of(loss, micro) for loss in updates(actor, micro, update, ranks)) / ranks / steps
    assert update.metrics["entropy_control/predicted"] == pytest.approx(change, rel=1e-4)
    one_cut = settings is GEO_MEAN and cut == {"ppo_micro_batch_size_per_gpu": 4}
    assert one_cut == bool((weights == 1).all())


@pytest.mark.parametrize(
    ("settings", "of"),
    [
        ({}, None),
        (GEO_MEAN, "rows"),
        (GEO_MEAN | BY_LONGEST, "rows"),
        (BY_LONGEST, "longest"),
        (BY_LONGEST | {"loss_scale_factor": 50}, None),
        (BY_LONGEST | {"policy_loss": PolicyLossConfig(loss_mode="sapo")}, None),
    ],
)
def test_which_losses_take_a_mean_of_micro_batches(settings, of):
    assert micro_mean(config(**settings)) == of


RANK = """
import json, sys
import torch
import torch.distributed as dist
from verl.utils import tensordict_utils as tu
from verl.workers.engine.utils import prepare_micro_batches
rank, lengths, most, store = int(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
rows = torch.nested.as_nested_tensor([torch.zeros(n, dtype=torch.long) for n in lengths], layout=torch.jagged)
data = tu.get_tensordict({"input_ids": rows}, non_tensor_dict={"use_dynamic_bsz": True, "max_token_len_per_gpu": most})
print(json.dumps(prepare_micro_batches(data, dist.group.WORLD)[1]))
dist.destroy_process_group()
"""


def test_ranks_have_as_many_micro_batches_as_the_one_with_most(tmp_path):
    """By verl's own processes, which agree on the number: one rank has the long rows."""
    shares, most = [[9, 8, 9, 7, 9, 9], [2, 3, 2, 4, 2, 2]], 20
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), json.dumps(lengths), str(most), str(tmp_path / "store")],
            env=os.environ | for_cpu(os.environ),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, lengths in enumerate(shares)
    ]
    theirs = [json.loads(run.communicate(timeout=300)[0].splitlines()[-1]) for run in runs]
    actor = config(use_dynamic_bsz=True, ppo_max_token_len_per_gpu=most, ppo_mini_batch_size=12)
    ours = micro_batches(actor, [n for lengths in shares for n in lengths], 1, 2)
    assert len(theirs[0]) == len(theirs[1]) > 1
    assert [each.tolist() for each in ours] == [
        [6 * rank + i for i in rows] for rank in (0, 1) for rows in theirs[rank]
    ]
