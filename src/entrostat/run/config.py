"""What a run is made of: a configuration file and dotted overrides, checked key by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, field_validator

from entrostat.core.config import METHOD, Named, checked, named, read_values
from entrostat.core.yaml_file import dump
from entrostat.errors import ConfigError
from entrostat.run.ranges import LEAST, MOST

# What torch, NumPy and TRL take for a count.
NonNegativeInt = Annotated[int, Field(ge=0, le=2**31 - 1)]
PositiveInt = Annotated[int, Field(gt=0, le=2**31 - 1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EvalConfig(_Section):
    """Evaluation: at the start, at the end and every `every` steps (0: only start and end), on `problems` of each split.

    `temperatures` are those to judge at: "training" is the run's own, with `samples` completions of each problem, as at any
    other; 0 is greedy, with one. The split "eval" is held out, "train" is what the run learns from.
    """

    every: NonNegativeInt = 50
    problems: Annotated[int, Field(ge=0, le=100_000)] = 100
    splits: list[Literal["eval", "train"]] = ["eval"]
    temperatures: list[NonNegativeFloat | Literal["training"]] = ["training", 0.0]
    samples: Annotated[int, Field(ge=1, le=100_000)] = 8
    ks: list[PositiveInt] = [1, 8]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 256


class PredictConfig(_Section):
    """Every `every` steps (0: never), predict from the gradient what the step does to the entropy, and check it."""

    every: NonNegativeInt = 0
    nodes: Literal[0, 1, 2, 3] = 0
    visited_states: bool = False
    prompts: bool = False


class TokensConfig(_Section):
    """A sample of the tokens for the report, every `every` steps (0: never): `completions` of up to `length` tokens each, in a
    folder of up to `megabytes`."""

    every: NonNegativeInt = 25
    completions: PositiveInt = 8
    length: PositiveInt = 1024
    megabytes: Annotated[float, Field(ge=0.01, le=1_000_000)] = 64.0


class RunConfig(_Section):
    """One training run. `trainer` goes to TRL as it is."""

    model: str = "tiny"
    task: Named = Named(name="countdown")
    method: Named = Named(name=METHOD)
    algorithm: Literal["grpo", "rloo"] = "grpo"
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100  # the order of all prompts is laid out before the first
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # what NumPy takes
    train_problems: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    eval: EvalConfig = EvalConfig()
    predict: PredictConfig = PredictConfig()
    tokens: TokensConfig = TokensConfig()
    trainer: dict[str, Any] = {}

    @field_validator("task", "method", mode="before")
    @classmethod
    def _name_alone(cls, value: Any, info: Any) -> Any:
        return named(value, {"task": "countdown", "method": METHOD}[info.field_name])

    def to_yaml(self) -> str:
        """The configuration as a file that `load_config` reads back."""
        return dump(self.model_dump())


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration from a YAML file and `key.path=value` overrides, either of which may be absent.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown or its value bad; the message names the dotted key.
    """
    return check_config(read_values(path, overrides))


def check_config(values: Any) -> RunConfig:
    """The checked configuration of a run behind plain values."""
    for key in values if isinstance(values, dict) else ():
        if key not in RunConfig.model_fields and (name := _of_the_trainer(str(key))):
            raise ConfigError(f"{key}: is a setting of the trainer: write trainer.{name}=VALUE")
    config = checked(RunConfig, values)
    if config.eval.samples < (largest := max(config.eval.ks, default=0)):
        raise ConfigError(f"eval.ks: pass@{largest} needs eval.samples >= {largest}, got {config.eval.samples}")
    _check_lists(config.eval)
    asked = [name for name in ("nodes", "visited_states", "prompts") if getattr(config.predict, name)]
    if asked and not config.predict.every:
        raise ConfigError(
            f"predict.{asked[0]}: has no effect while predict.every is 0: set predict.every to a number of steps"
        )
    return config


def _of_the_trainer(key: str) -> str | None:
    """The name under which TRL has a setting, such as learning_rate for lr; None where it has none, or is not installed."""
    from entrostat.run.arguments import OTHER_NAMES

    if key in OTHER_NAMES:
        return OTHER_NAMES[key]
    try:
        from trl import GRPOConfig
    except ImportError:
        return None
    return key if key in GRPOConfig.__dataclass_fields__ else None


def _check_lists(asked: EvalConfig) -> None:
    """Of what is evaluated: none of it would be measured in silence, and one given twice costs time for nothing."""
    for name in ("splits", "temperatures", "ks"):
        values = getattr(asked, name)
        if asked.problems and not values and name != "ks":
            raise ConfigError(f"eval.{name}: is empty, so that nothing is evaluated: name one, or set eval.problems=0")
        if repeated := [each for index, each in enumerate(values) if each in values[:index]]:
            raise ConfigError(f"eval.{name}: {repeated[0]!r} is given twice: give it once")
    for value in asked.temperatures:
        if isinstance(value, float) and value and not LEAST <= value <= MOST["temperature"]:
            raise ConfigError(
                f"eval.temperatures: must be 'training', 0 (greedy), or from {LEAST} to {MOST['temperature']}, got {value}"
            )
