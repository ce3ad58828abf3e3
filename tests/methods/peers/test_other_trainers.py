"""ms-swift's and Unsloth's trainers, by the source text of their packages, which import on a GPU alone: refused, with the reason.

Of ms-swift's class the methods are made anew with their signatures; of Unsloth's replacement its name and the loss that it
compiles are read.
"""

from __future__ import annotations

import ast
from importlib.metadata import files
from pathlib import Path

import pytest
from trl import GRPOTrainer

import entrostat as es
from entrostat.errors import HostError


def source(package: str, ends: str) -> ast.Module:
    """The one file of an installed package whose path ends so."""
    (found,) = [file for file in files(package) or [] if str(file).endswith(ends)]
    return ast.parse(Path(str(found.locate())).read_text())


def signatures(tree: ast.Module, name: str) -> dict[str, ast.FunctionDef]:
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}


def bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function with its arguments, without types, decorators and body."""
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    function.decorator_list, function.returns, function.body = [], None, [ast.Pass()]
    return function


def test_ms_swift_scores_a_batch_that_is_an_object_of_its_own() -> None:
    methods = signatures(source("ms-swift", "rlhf_trainers/grpo_trainer.py"), "GRPOTrainer")
    seam = [bare(methods[name]) for name in ("_compute_loss", "_get_per_token_logps_and_entropies")]
    made: dict[str, object] = {}
    exec(compile(ast.fix_missing_locations(ast.Module(seam, [])), "ms-swift", "exec"), made)
    swift = type("Swift", (GRPOTrainer,), {function.name: made[function.name] for function in seam})
    with pytest.raises(HostError, match=r"(?s)Swift.*model_inputs.*ms-swift"):
        es.trl.controlled(swift, es.observe())


def test_unsloth_replaces_the_whole_loss() -> None:
    replaced = source("unsloth", "models/rl_replacements.py")
    (outer,) = [node for node in replaced.body if getattr(node, "name", "") == "grpo_trainer_compute_loss"]
    (loss,) = [node for node in ast.walk(outer) if getattr(node, "name", "") == "compute_loss"]
    called = {node.func.attr for node in ast.walk(loss) if isinstance(node, ast.Call) and hasattr(node.func, "attr")}
    assert "_compute_loss" not in called  # so that TRL's is never reached
    template = ast.unparse(source("unsloth", "unsloth/models/rl.py"))
    assert "class Unsloth{RLTrainer_name}(_Unsloth{RLTrainer_name}):" in template
    for name in ("UnslothGRPOTrainer", "_UnslothGRPOTrainer"):
        with pytest.raises(HostError, match=rf"(?s){name} is Unsloth's.*compute_loss"):
            es.trl.controlled(type(name, (GRPOTrainer,), {}), es.observe())
