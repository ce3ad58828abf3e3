"""`entrostat probe`: which methods can hold the entropy, from one real batch before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[str, typer.Option(help="tiny, smollm2, a folder or a hub id.")] = "tiny",
    task: Annotated[
        str, typer.Option(help="countdown, rg:NAME, a .jsonl file, or {name: ..., OPTION: ...}.")
    ] = "countdown",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts in the batch.")] = 32,
    completions: Annotated[int, typer.Option(min=2, help="Completions of each.")] = 8,
    methods: Annotated[str | None, typer.Option(help="Names, separated by commas [default: all].")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the prompts and the sampling.")] = 0,
    batch: Annotated[Path | None, typer.Option(help="A batch that was saved, in place of a model and a task.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the batch's numbers in this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, and more, as JSON instead.")] = False,
) -> None:
    """Sample one batch and show for every method: which tokens it acts on, and whether it can reverse the entropy's drift."""
    from rich.console import Console

    from entrostat.methods import names
    from entrostat.methods.cards import example
    from entrostat.methods.registry import source
    from entrostat.run.folder import as_json as written
    from entrostat.run.probe import load_batch, probe, sample_batch, save_batch, statistics_of

    chosen = [name.strip() for name in methods.split(",")] if methods else names()
    for name in chosen:
        source(name)  # refuses one that is unknown
    if batch is not None:
        looked_at = load_batch(batch)
    else:
        from entrostat.cli._settings import task_in
        from entrostat.models import load_policy
        from entrostat.run.quiet import quiet

        chosen_task = task_in(task)
        with quiet():
            policy = load_policy(model)
            wants = statistics_of(example(name) for name in chosen)
            looked_at = sample_batch(policy, chosen_task, prompts, completions, seed, wants)
    if save is not None:
        save_batch(looked_at, save)
    record = probe(looked_at, chosen).record
    if as_json:
        typer.echo(written(record))
        return
    console = Console(soft_wrap=True)
    _batch(console, record)
    console.print(_methods(record))
    for name, why in record["refused"].items():
        console.print(f"{name}: not shown, {why}", highlight=False, markup=False)
    console.print(
        "change: of the entropy by this batch, to first order, in units of the drift under plain training (-1: falls as fast);\n"
        "lowest, highest: at the limits of a controlled output; a method whose range has 0 in it can hold the entropy here.",
        style="dim",
        highlight=False,
    )


def _batch(console: Any, record: dict[str, Any]) -> None:
    q = record["quantiles"]
    lines = [
        f"{record['tokens']} tokens of {record['completions']} completions, mean reward {record['reward']:.3f}, "
        f"{record['groups_with_spread']:.0%} of the groups with spread",
        f"entropy {record['entropy']:.4f} nats per token (10 % {q['10 %']:.3f}, median {q['50 %']:.3f}, "
        f"90 % {q['90 %']:.3f}); {record['near_certain']:.0%} of the tokens have p > 0.95",
        "by position: " + " ".join(f"{value:.3f}" for value in record["by_position"]),
        f"drift {record['drift']:+.2e}; by quadrant:",
    ]
    for name, each in record["quadrants"].items():
        if each["tokens"]:
            lines.append(f"  {name:18} {each['tokens'] / record['tokens']:6.1%} of the tokens, {each['before']:+.2e}")
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _methods(record: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drift = abs(record["drift"]) or 1.0
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("method", "touches", "change", "lowest", "highest", "can hold"):
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for name, each in record["methods"].items():
        row = [name, f"{each['touched']:.1%}", f"{each['changed'] / drift:+.2f}"]
        if each["low"] != each["high"]:
            row += [f"{each[end] / drift:+.2f}" for end in ("low", "high")] + ["yes" if each["reverses"] else "no"]
        table.add_row(*row)
    return table
