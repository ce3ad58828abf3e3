"""What is said of words that a command cannot take: one sentence, as of every other error.

The classes of typer's own errors are not public and have moved between its versions: they are told apart by what they carry.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from entrostat.cli._help import EXAMPLES, HelpfulCommand
from entrostat.errors import ConfigError, did_you_mean


class _Worded:
    """Says in our words what it cannot take."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        words = list(args)
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc]
        except Exception as error:
            if (said := _sentence(error, ctx, words)) is None:
                raise
            raise ConfigError(said) from error


class Command(_Worded, HelpfulCommand):
    """One command."""


class Group(_Worded, TyperGroup):
    """All commands together."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            near = did_you_mean(args[0], list(self.commands))
            raise ConfigError(f"{args[0]}: there is no such command{near}: {_help(ctx)} lists all")
        return super().resolve_command(ctx, args)


def _sentence(error: Exception, ctx: Any, words: list[str]) -> str | None:
    """What to say of typer's error about `words`; None where it is not one of those."""
    if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
        return None
    name, parameter = getattr(error, "option_name", None), getattr(error, "param", None)
    if parameter is not None:
        return _of_a_parameter(parameter, error, ctx, words)
    if name is None:
        return f"{_clause(error)}: {_help(ctx)} shows what there is"
    if hasattr(error, "possibilities"):
        return _unknown(name, [each.name for each in ctx.command.get_params(ctx)], error, ctx)
    if given := [word for word in words if word.startswith(f"{name}=")]:
        return f"{name}: takes no value, got {given[0].partition('=')[2]!r}: write {name} alone"
    return f"{name}: its value is missing: give one, or leave it out"


def _of_a_parameter(parameter: Any, error: Exception, ctx: Any, words: list[str]) -> str:
    option = parameter.param_type_name == "option"
    name = max(parameter.opts, key=len) if option else (parameter.metavar or parameter.name.upper())
    if type(error).__name__ == "MissingParameter":
        return f"{name}: is missing: give it, as in `{EXAMPLES[ctx.info_name][0]}`"
    given, _, _ = ctx.command.make_parser(ctx).parse_args(list(words))
    what = _clause(error).replace("input should be", "must be").partition(",")[0]
    return f"{name}: {what}, got {given.get(parameter.name)!r}; {_help(ctx)} shows what it takes"


def _unknown(name: str, parameters: list[Any], error: Exception, ctx: Any) -> str:
    """What to say of an option that does not exist; of `--steps 5`, that `steps=5` is meant."""
    near = [each for each in getattr(error, "possibilities", None) or () if each != "--help"]
    key = name.lstrip("-").replace("-", "_")
    if {"settings", "words"} & set(parameters) and not any(each.startswith(name) for each in near):
        from entrostat.run.config import RunConfig

        if not near or key in RunConfig.model_fields:  # `--seed` is near `--seeds`; so is `--steps`, which is a setting
            return f"{name}: there is no such option: a setting is written without dashes, as {key}=VALUE"
    return f"{name}: there is no such option{did_you_mean(name, near)}: {_help(ctx)} lists all"


def _clause(error: Any) -> str:
    """typer's own words, to stand within a sentence."""
    said = str(error.message).strip().rstrip(".")
    return said[:1].lower() + said[1:]


def _help(ctx: Any) -> str:
    return f"`entrostat {ctx.info_name} --help`" if ctx.parent else "`entrostat --help`"
