"""The files and objects that the pages' code blocks speak of."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from pages.blocks import ROOT
from report.report_case import write_run

import entrostat as es
from entrostat.run.config import load_config

SUMMARY = {"entropy": {"second_half": {"relative_rms_error": 0.05}}}


def make_files(folder: Path, simulate: Any) -> None:
    """Runs and logs under the names that the pages use; `simulate` runs the command of that name."""
    for name in ("mine", "a", "b", "my-run", "first"):
        write_run(folder / "runs" / name, steps=40)
    (folder / "examples").symlink_to(ROOT / "examples")
    seed1 = folder / "runs" / "seed1"
    simulate("method.target=0.22", "method.kp=20", "steps=200", "--out", str(seed1))
    (seed1 / "simulation.json").unlink()  # from here on it is a run's folder
    (seed1 / "config.yaml").write_text(load_config(None, ["method={name: hold, target: 0.22}"]).to_yaml())
    (seed1 / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "flow").symlink_to(seed1)
    rows = [json.loads(line) for line in (seed1 / "metrics.jsonl").read_text().splitlines()]
    for name in ("log.jsonl", "metrics.jsonl"):
        (folder / name).write_bytes((folder / "runs" / "mine" / "metrics.jsonl").read_bytes())
    entropies = [row["entropy_control/measured"] for row in rows]
    history = [{"step": i, "entropy": h, "reward": 0.5, "grad_norm": 0.1} for i, h in enumerate(entropies, 1)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history, "logging_steps": 1}))
    said = [f"step:{i} - actor/entropy:{h} - critic/score/mean:0.5\n" for i, h in enumerate(entropies, 1)]
    (folder / "console.log").write_text("".join(said))
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "actor/entropy", "u", "my_entropy", "my_reward"])
        outputs = [-row["entropy_control/output"] for row in rows]  # as of a method whose output lowers the entropy
        writer.writerows([i, h, u, h, 0.5] for i, (h, u) in enumerate(zip(entropies, outputs, strict=True), 1))


def in_trl(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What stands for the dots of a block that trains with TRL, and the names it then needs."""
    from hosts.trl.trl_case import PROMPTS, TOKENIZER, digits, policy

    if not folder.exists():
        policy().save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
    from datasets import Dataset

    small = {
        "output_dir": str(folder.parent / "trl"),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 4,
        "max_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }
    dots = {
        '"Qwen/Qwen3-0.6B"': "model",
        "model=...": "model=model",
        "reward_funcs=...": "reward_funcs=reward",
        "train_dataset=...": "train_dataset=problems",
        "GRPOConfig(...)": "GRPOConfig(**small)",
        'GRPOConfig(output_dir="runs/trl", max_steps=50, max_completion_length=64, logging_steps=1)': "GRPOConfig(**small)",
    }
    problems = Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS])
    return dots, {"model": str(folder), "reward": digits, "problems": problems, "small": small}


def names_of(page: str, folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What the Python of a page takes as given: texts to put in place of dots, and objects by name."""
    if page in ("README.md", "docs/trl.md"):
        return in_trl(folder / "model")
    if page == "docs/prediction.md":
        from attribution.prediction_case import Net, backward, data

        net = Net()
        (one,) = backward(net, data())
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
        logp = SimpleNamespace(grad=one.push_logp_BT)
        given = {"evaluate": one.evaluate, "mask": one.mask_BT, "logp": logp, "advantages": one.advantages_BT}
        return {", ...]": "]"}, given | {"optimizer": optimizer}
    if page == "docs/report.md":
        trainer = SimpleNamespace(entropy_control=es.EntropyControl(es.observe()), add_callback=lambda callback: None)
        given = {"control": es.EntropyControl(es.observe()), "trainer": trainer}
        return {}, given | {"tokenizer": SimpleNamespace(decode=str), "step": 1, "metrics": {"entropy": 0.3}}
    if page == "docs/statistics.md":
        hidden, weight = torch.randn(2, 3, 4), torch.randn(7, 4)
        logits, targets = hidden @ weight.T, torch.zeros(2, 3, dtype=torch.long)
        given = {"logits_BTV": logits, "my_logits_BTV": logits, "hidden_BTd": hidden, "weight_Vd": weight}
        return {}, given | {"targets_BT": targets, "tensor_parallel_group": None}
    if page == "docs/targets.md":
        return {}, {"es": es}
    if page == "docs/loop.md":
        return {}, _a_loop(folder)
    if page == "docs/methods/writing.md":
        shipped = vars(importlib.import_module("entrostat.methods.entropy_advantage"))
        names = ("Link", "Card", "Source", "Knob", "ClassVar", "dataclass", "replace")
        return {}, {name: shipped[name] for name in names} | {
            "register": lambda link: link
        }  # its name is taken already
    return {}, {}


def _a_loop(folder: Path) -> dict[str, Any]:
    """Two steps of two micro-batches, of a policy that is a table of logits."""
    table = torch.randn(4, 5, 7).requires_grad_()
    tokens = torch.randint(0, 7, (4, 5))
    mask = torch.ones(4, 5, dtype=torch.bool)

    def micro(rows: slice) -> SimpleNamespace:
        given = {"tokens_BT": tokens[rows], "advantages_B": torch.randn(2), "mask_BT": mask[rows]}
        return SimpleNamespace(rows=rows, old_logp_BT=None, **given)

    training = [[micro(slice(0, 2)), micro(slice(2, 4))] for _ in range(2)]
    logits = table.log_softmax(2)
    stats = es.token_stats(logits.detach().requires_grad_(), tokens, want=es.hold(target=0.3).requires)
    return {
        "training": training,
        "model": lambda micro: table[micro.rows],
        "optimizer": torch.optim.SGD([table], lr=0.1),
        "log": lambda metrics: None,
        "checkpoint": folder,
        "advantages_B": torch.randn(4),
        "rewards_B": torch.tensor([1.0, 0.0, 0.0, 1.0]),
        "groups_B": torch.tensor([0, 0, 1, 1]),
        "lengths_B": torch.full((4,), 5),
        "whole": es.TokenBatch(stats, torch.randn(4), mask),
        "tokenizer": SimpleNamespace(decode=str),
    }
