"""`entrostat diagnose`: what is wrong with a run, from the log of any trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from entrostat.diagnosis import Finding
    from entrostat.logs import Run

_STYLES = {"severe": "bold red", "warning": "bold yellow", "remark": "bold cyan"}


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Run folders or logs: TRL, verl, W&B, TensorBoard, CSV, ...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print findings and notes as JSON instead.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the column behind each finding.")] = True,
    column: Annotated[
        list[str] | None,
        typer.Option(help="QUANTITY=KEY, where a column is not found by its name: entropy=my_key. Repeatable."),
    ] = None,
) -> None:
    """Say what is wrong with a run: findings with their evidence, and what to do in the host's own settings.

    Exit code: 0 nothing severe, 1 a severe finding (with --strict also a warning), 2 a log that cannot be read.
    """
    from entrostat.cli._text import shown
    from entrostat.diagnosis import diagnose
    from entrostat.errors import EntrostatError, exit_code
    from entrostat.logs import read

    columns = _columns(column or [])
    failed = 0
    found: list[tuple[Run, list[Finding]]] = []
    for path in paths:
        try:
            found += [(run, diagnose(run)) for run in read(path, columns)]
        except EntrostatError as error:
            typer.echo(f"error: {shown(str(error))}", err=True)
            failed = max(failed, exit_code(error))
    if as_json:
        from entrostat.run.folder import as_json as written

        typer.echo(written([_record(run, findings) for run, findings in found]))
    else:
        from rich.console import Console

        console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        for run, findings in found:
            _print(console, run, findings, plots)
    if failed:
        raise typer.Exit(failed)
    grave = {"severe", "warning"} if strict else {"severe"}
    if any(finding.severity in grave for _, findings in found for finding in findings):
        raise typer.Exit(1)


def _columns(words: list[str]) -> dict[str, str]:
    from entrostat.errors import ConfigError

    named = {}
    for word in words:
        name, equals, key = word.partition("=")
        if not (name and equals and key):
            raise ConfigError(f"--column: {word!r} is not of the form QUANTITY=KEY, such as entropy=my_key")
        named[name] = key
    return named


def _record(run: Run, findings: list[Finding]) -> dict[str, Any]:
    from entrostat.diagnosis.findings import FEWEST

    return {
        "path": str(run.path),
        "run": run.name,
        "host": run.host,
        "format": run.form,
        "rows": len(run),
        "steps": [float(run.steps[0]), float(run.steps[-1])] if len(run) else [],
        "columns": {
            name: {"key": column.key, "unit": column.unit, "kind": column.kind} for name, column in run.columns.items()
        },
        "notes": [{"code": note.code, "text": note.text, "steps": list(note.steps)} for note in run.notes],
        "findings": [finding.record for finding in findings],
        "too_few_rows_for": {code: fewest for code, fewest in FEWEST.items() if len(run) < fewest},
    }


def _print(console: Console, run: Run, findings: list[Finding], plots: bool) -> None:
    from rich.text import Text

    from entrostat.cli._text import shown
    from entrostat.diagnosis import nothing_found
    from entrostat.diagnosis.plot import plot

    name = "" if run.name == run.path.stem else f" [{run.name}]"
    console.print(Text(shown(f"{run.path}{name}"), style="bold"))
    console.print(shown(f"  {_summary(run)}"))
    for note in run.notes:
        console.print(shown(f"  note: {note.text}"), style="dim")
    if not findings:
        console.print(f"  {nothing_found(len(run))}")
    for finding in findings:
        head = Text("\n  ")
        head.append(f"{finding.code} {finding.title}", style=_STYLES[finding.severity])
        head.append(f" ({finding.severity}, confidence {finding.confidence:.0%}, {_steps(*finding.steps)})")
        console.print(head)
        console.print(shown(f"    {finding.text}"))
        for line in plot(run, finding) if plots else ():
            console.print(f"    {line}")
        console.print(shown(f"    What to do: {finding.advice}"))
    console.print()


def _summary(run: Run) -> str:
    from entrostat.logs.records import counted

    span = _steps(run.steps[0], run.steps[-1]) if len(run) else "no steps"
    host = "trainer unknown" if run.host == "unknown" else run.host
    parts = [f"{run.form}, {host}: {counted(len(run), 'row')}, {span}"]
    if "entropy" in run:
        column = run.columns["entropy"]
        parts.append(f"entropy is {column.key!r} [{column.unit}]")
    return "; ".join(parts)


def _steps(first: float, last: float) -> str:
    return f"step {first:g}" if first == last else f"steps {first:g} to {last:g}"
