"""One rank of two with sharded weights, in the environment that a launch file of examples/trl makes, without accelerator.

Under FSDP2 two runs: prescribed completions, so that one process with whole weights sees the same global batch; then the
example as it is. Under ZeRO-3 the first alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from hosts.trl.processes_case import Prescribed
from hosts.trl.trl_case import trainer

import entrostat as es

EXAMPLE = Path(__file__).parents[3] / "examples" / "trl" / "grpo_flow.py"
STEPS = 3


def zero() -> bool:
    """Whether the launch file asks for ZeRO-3."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"


def fsdp_on_cpu() -> None:
    """accelerate switches FSDP on for every kind of accelerator, and leaves a launch on CPU as plain data parallelism."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    initialize = AcceleratorState.__init__

    def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        initialize(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = with_fsdp


def zero_on_cpu() -> None:
    """accelerate takes DeepSpeed for a matter of accelerators, and names neither backend nor device without one."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_CPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))


def whole(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All parameters, gathered from the ranks that they are sharded over."""
    parameters = dict(model.named_parameters())
    if zero():
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(parameters.values())):
            return {name: p.detach().clone() for name, p in parameters.items()}
    return {
        name: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone() for name, p in parameters.items()
    }


def sharded(model: torch.nn.Module) -> int:
    """How many parameters are split over ranks."""
    return sum(hasattr(p, "ds_tensor" if zero() else "full_tensor") for p in model.parameters())


def prescribed(directory: Path, batch: int) -> dict[str, Any]:
    """Train on prescribed completions; what this rank's controller holds, what it measured, and the weights."""
    torch.set_num_threads(1)

    def reward(prompts: Any, completions: list[str], **_: Any) -> list[float]:
        return [float(len(c) % 3 == 0) for c in completions]

    run = trainer(
        directory,
        Prescribed,
        reward=reward,
        wrap=lambda cls: es.trl.controlled(cls, es.chain(es.flow(target=1.0), es.entropy_bonus(0.01))),
        per_device_train_batch_size=batch,
        max_completion_length=8,
        # Adam would turn a rounding difference of a tiny gradient into a whole step.
        optim="sgd",
        learning_rate=0.3,
        max_steps=STEPS,
        shuffle_dataset=False,
        use_cpu=not zero(),  # it would turn DeepSpeed off; there is nothing but a CPU anyway
    )
    before = whole(run.model)
    run.train()
    log = [e for e in run.state.log_history if "entropy_control/measured" in e]
    return {
        "sharded": sharded(run.model),
        "steps": run.entropy_control.steps,
        "optimizer_steps": run.state.global_step,
        "state": run.entropy_control.method.state_to_dict(run.entropy_control.state),
        "measured": [e["entropy_control/measured"] for e in log],
        "before": before,
        "weights": whole(run.model),
    }


def example(directory: Path, model: str) -> dict[str, Any]:
    """The example's own `main`, for two steps; what its trainer ends with."""
    spec = importlib.util.spec_from_file_location("grpo_flow", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    runs = []
    controlled = es.trl.controlled

    def seen(*args: Any) -> type:
        made = controlled(*args)
        train = made.train
        made.train = lambda self: (runs.append(self), train(self))[1]
        return made

    es.trl.controlled = seen
    sys.argv = [str(EXAMPLE), "--model", model, "--target", "0.3", "--steps", "2", "--per-device", "16"]
    sys.argv += ["--length", "24", "--out", str(directory), "--no-bf16"]
    module.main()
    (run,) = runs
    log = [e for e in run.state.log_history if "entropy_control/measured" in e]
    return {
        "sharded": sharded(run.model),
        "state": run.entropy_control.method.state_to_dict(run.entropy_control.state),
        "measured": [e["entropy_control/measured"] for e in log],
        "tokens": [e["token_entropy/tokens"] for e in log],
    }


def main(folder: Path, model: Path) -> None:
    zero_on_cpu() if zero() else fsdp_on_cpu()
    rank = os.environ["RANK"]
    torch.save(prescribed(folder / "prescribed", 4), folder / f"prescribed-{rank}.pt")
    if not zero():
        (folder / f"example-{rank}.json").write_text(json.dumps(example(folder / "example", str(model))))
