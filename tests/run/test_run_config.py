"""Configurations: precedence, and errors that name the dotted key."""

from __future__ import annotations

from pathlib import Path

import pytest
from run.small_run import THIRD_PARTY

from entrostat.errors import ConfigError
from entrostat.run.arguments import complete
from entrostat.run.config import load_config
from entrostat.run.resolve import resolve
from entrostat.tasks import load_task

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 7\nseed: 3\nmethod: observe\ntrainer: {learning_rate: 1e-3}\n")
    config = load_config(file, ["steps=9", "eval.ks=[1,2]", "trainer.num_generations=4"])
    assert (config.steps, config.seed, config.method.name, config.model) == (9, 3, "observe", "tiny")
    assert config.eval.ks == [1, 2]
    assert config.trainer == {"learning_rate": 1e-3, "num_generations": 4}


def test_an_option_joins_a_name_that_was_given_before_it(tmp_path: Path) -> None:
    config = load_config(None, ["method=entropic", "method.target=0.2", "method.kp=2"])
    assert (config.method.name, config.method.options) == ("entropic", {"target": 0.2, "kp": 2})
    file = tmp_path / "run.yaml"
    file.write_text("method: clip_v\n")
    assert load_config(file, ["method.mu=3"]).method.name == "clip_v"
    assert load_config(file, ["method.mu=3", "method=observe"]).method.options == {}


def test_the_resolved_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    schedule = "method.target={linear: {start: 0.3, end: 0.2, steps: 50}}"
    resolved = resolve(load_config(None, [schedule, "trainer.learning_rate=2e-4"]))
    file = tmp_path / "config.yaml"
    file.write_text(resolved.to_yaml())
    again = load_config(file)
    assert again == resolved == resolve(again)
    assert again.trainer["learning_rate"] == 2e-4
    assert again.trainer["max_completion_length"] == 16  # the task's hint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", r"^stepz: unknown key \(did you mean 'steps'\?\)"),
        ("target=0.3", r"^target: unknown key \(did you mean task\.target or method\.target or trainer\.target\?\)"),
        ("learning_rate=1e-4", r"^learning_rate: is a setting of the trainer: write trainer\.learning_rate=VALUE"),
        ("every=3", r"^every: unknown key \(did you mean eval\.every or predict\.every or tokens\.every\?\)"),
        (f"threads={10**400}", r"^threads: input should be less than or equal to 4096"),
        ("steps=2147483648", r"^steps: input should be less"),
        (f"eval.ks=[{10**400}]", r"^eval\.ks"),
        ("eval.sample=3", r"^eval\.sample: unknown key \(did you mean 'samples'\?\)"),
        ("steps=0", r"^steps: .*greater than or equal to 1, got 0"),
        ("steps=many", r"^steps: .*valid integer, got 'many'"),
        ("seed=1.5", r"^seed: .*got 1\.5"),
        ("seed=4294967296", r"^seed: .*4294967295"),
        ("steps=12:30:45", r"^steps: .*got '12:30:45'"),
        ("predict.visited_states=yes", r"^predict\.visited_states: .*got 'yes'"),
        ("model=${oc.env:HOME}", r"^model: .*is an interpolation"),
        ("eval.ks=[1,0]", r"^eval\.ks\.1: .*got 0"),
        ("eval.ks=[1,16]", r"^eval\.ks: pass@16 needs eval\.samples >= 16, got 8"),
        ("predict.evry=3", r"^predict\.evry: unknown key \(did you mean 'every'\?\)"),
        ("predict.every=-1", r"^predict\.every: .*got -1"),
        ("predict={every: 1, nodes: 9}", r"^predict\.nodes: .*got 9"),
        ("predict.prompts=true", r"^predict\.prompts: .*set predict.every to a number of steps"),
        ("algorithm=ppo", r"^algorithm: .*'grpo' or 'rloo', got 'ppo'"),
        ("method=[1]", r"^method: "),
        ("steps", r"'steps' is not of the form key.path=value"),
        ("method={name: flow", r"^method: the override .* is not valid YAML"),
        ("eval.splits=[]", r"^eval\.splits: is empty, so that nothing is evaluated"),
        ("eval.temperatures=[]", r"^eval\.temperatures: is empty"),
        ("eval.temperatures=[0, 0.0]", r"^eval\.temperatures: 0\.0 is given twice"),
        ("eval.splits=[eval, eval]", r"^eval\.splits: 'eval' is given twice"),
        ("eval.ks=[1, 1]", r"^eval\.ks: 1 is given twice"),
        (
            "eval.temperatures=[.inf]",
            r"^eval\.temperatures: must be 'training', 0 \(greedy\), or from 0\.001 to 100, got inf",
        ),
        ("eval.temperatures=[1e-30]", r"^eval\.temperatures: .*got 1e-30"),
        ("tokens.megabytes=1e-9", r"^tokens\.megabytes: "),
        ("tokens.megabytes=.inf", r"^tokens\.megabytes: "),
    ],
)
def test_wrong_keys_and_values_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.numberz=3", r"^task\.numberz: "),
        ("task.numbers=9", r"^task\.numbers: numbers is 9"),
        ("task.name=nothing", r"^task.*no task is called 'nothing'"),
        ("method.name=flo", r"^method\.name: .*did you mean 'flow'"),
        ("method.tarjet=0.2", r"^method\.tarjet: unknown key \(did you mean 'target'\?\)"),
        ("method.target=-0.2", r"^method\.target: .*-0\.2"),
        ("method.kp=-1", r"^method\.kp: .*-1"),
        ("method.target={linea: {}}", r"^method\.target\.linea: unknown \(did you mean 'linear'\?\)"),
        ("method.target={linear: {start: 1}}", r"^method\.target\.linear\.end: is needed"),
        ("method.target={linear: 3}", r"^method\.target\.linear: .*as a mapping, got 3"),
        ("method.controller={pi: {target: 0.2, kd: 1}}", r"^method\.controller\.pi\.kd: unknown key"),
        ("trainer.learning_rte=1", r"^trainer\.learning_rte: GRPOConfig has no such .*'learning_rate'"),
        ("trainer.learning_rate=fast", r"^trainer\.learning_rate: .*got 'fast'"),
        ("trainer.learning_rate='1e-3'", r"^trainer\.learning_rate: .*got '1e-3'"),
        ("trainer.max_steps=3", r"^trainer\.max_steps: is set by the run: use steps"),
        ("trainer.num_generations=3", r"^trainer\.num_generations: .*divisible"),
        ("trainer.beta=0.1", r"^trainer\.beta: .*reference policy"),
    ],
)
def test_what_only_resolving_finds_is_named_too(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(load_config(None, [override]))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("- 1\n", "holds a list"), ("steps: [1\n", "not valid YAML"), ("stepz: 1\n", "stepz")],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "run.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_no_more_is_read_than_a_configuration_can_have() -> None:
    with pytest.raises(ConfigError, match="has more than 1,000,000 characters: is it a configuration"):
        load_config("/dev/zero")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("")
    assert load_config(file) == load_config()


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_examples_are_valid(path: Path) -> None:
    config = load_config(path)
    if config.task.name == "countdown":
        resolve(config)


@pytest.mark.parametrize("model", ["smollm2", "tiny"])
@pytest.mark.parametrize(("gpu", "bf16"), [(True, None), (False, False)])
def test_bf16_is_trl_s_default_on_a_gpu_alone(
    model: str, gpu: bool, bf16: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    found = complete(load_config(None, [f"model={model}"]), load_task("countdown"))
    assert (found.get("bf16"), found.get("use_cpu", False)) == (bf16, not gpu)
    asked = complete(load_config(None, [f"model={model}", "trainer.bf16=true"]), load_task("countdown"))
    assert asked["bf16"] is True
