"""The launch files of examples/trl, FSDP2 and ZeRO-3, each on two processes without accelerator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.run
from accelerate.commands import launch as command
from hosts.trl.sharded_case import STEPS, main, prescribed
from ranks import on_ranks
from trl import GRPOConfig

pytestmark = [pytest.mark.filterwarnings("default")]

EXAMPLES = Path(__file__).parents[3] / "examples" / "trl"


def words(file: str, *arguments: str) -> Any:
    """A launch file and the words after it, as accelerate parses them."""
    return command.launch_command_parser().parse_args([f"--config_file={EXAMPLES / file}", *arguments])


def launch(file: str, *arguments: Path, **variables: str) -> None:
    """Start the case as the launch file says, but for the number of devices, the precision and the port.

    Where accelerate hands over to torchrun, the two ranks are forked instead.
    """
    changed = ["--num_processes=2", "--mixed_precision=no", "--num_cpu_threads_per_process=1", "--main_process_port=0"]
    started = []

    def start(torchrun: Any) -> None:
        started.append(torchrun.nproc_per_node)
        on_ranks(2, main, *arguments, variables=dict(os.environ))

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(torch.distributed.run, "run", start)
        command.launch_command(words(file, *changed, "sharded_case.py"))
    assert started == ["2"]


def check_prescribed(folder: Path, one: dict[str, Any]) -> None:
    """Both ranks against one process with whole weights."""
    ranks = [torch.load(folder / f"prescribed-{rank}.pt") for rank in (0, 1)]
    for rank in ranks:
        assert rank["sharded"] == len(one["weights"]) and one["sharded"] == 0
        assert rank["steps"] == rank["optimizer_steps"] == STEPS
    assert ranks[0]["state"] == ranks[1]["state"]
    assert ranks[0]["measured"] == pytest.approx(one["measured"], rel=1e-5) and len(one["measured"]) == STEPS
    for name, before in one["before"].items():
        two, moved = ranks[0]["weights"][name], (one["weights"][name] - before).abs().max()
        assert torch.equal(ranks[0]["before"][name], before)
        assert (two - one["weights"][name]).abs().max() < 1e-3 * moved, name


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Path:
    """A folder with what both ranks left under FSDP2."""
    from entrostat.models import load_policy

    folder = tmp_path_factory.mktemp("fsdp")
    policy = load_policy("tiny")
    policy.model.save_pretrained(folder / "model")
    policy.tokenizer.save_pretrained(folder / "model")
    launch("fsdp2.yaml", folder, folder / "model", ACCELERATE_USE_CPU="true")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict[str, Any]:
    return prescribed(tmp_path_factory.mktemp("one"), 8)


def test_fsdp2_on_two_ranks_is_one_process_on_the_same_batch(launched, one):
    check_prescribed(launched, one)


def test_zero_3_on_two_ranks_is_one_process_on_the_same_batch(one, tmp_path):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not among the development tools")
    launch("zero3.yaml", tmp_path, tmp_path / "none", DS_ACCELERATOR="cpu")
    check_prescribed(tmp_path, one)


def test_the_example_runs_under_fsdp2(launched):
    ranks = [json.loads((launched / f"example-{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["sharded"] > 0
    assert ranks[0]["state"] == ranks[1]["state"]
    assert ranks[0]["state"][0]["knobs"]["u"]["steps"] == 2
    # Two ranks of 16 completions, of 2 to 24 tokens each.
    assert all(64 <= tokens <= 768 for tokens in ranks[0]["tokens"])
    assert all(0.1 < entropy < 0.5 for entropy in ranks[0]["measured"])


def test_accelerate_reads_the_zero_3_file(monkeypatch):
    """What is handed to DeepSpeed."""
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    parsed = []
    monkeypatch.setattr(command, "deepspeed_launcher", parsed.append)
    script = str(EXAMPLES / "grpo_flow.py")
    command.launch_command(words("zero3.yaml", script))
    (arguments,) = parsed
    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda *_: False)
    _, environment = prepare_deepspeed_cmd_env(arguments)
    assert arguments.training_script == script and environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3" and environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "true"
    # The trainer clips gradients to 1 as well: the two must not say different things.
    assert environment["ACCELERATE_GRADIENT_CLIPPING"] == "1.0" and GRPOConfig.max_grad_norm == 1.0
