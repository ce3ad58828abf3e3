"""The page: one HTML file with everything in it. It fetches nothing, and runs no script but its own.

`page/charts.js` draws the charts, not a library: those that come with a Python package have 1 to 5 MB, and plotly's takes longer
to parse than the whole page may take to open.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from entrostat.core.whole_file import write_whole
from entrostat.errors import ConfigError, SaveError
from entrostat.report.visible import one_line

_SCRIPTS = ("charts.js", "tokens.js", "app.js")
WOULD_SCALE = 50  # a factor as a byte: 0 to 5.1 in steps of 0.02


def page_of(content: Mapping[str, Any], live: bool = False) -> str:
    """The report as HTML.

    Args:
        content: of `content_of`.
        live: whether the page asks its own server for news; otherwise it may connect to nothing.
    """
    style = _asset("style.css")
    script = "".join(_asset(name) for name in _SCRIPTS)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    title = ", ".join(run["label"] for run in content["runs"])
    parts = {
        "POLICY": policy,
        "TITLE": _escaped(f"{one_line(title, 80)} · Entrostat"),
        "STYLE": style,
        "LIVE": "true" if live else "false",
        "DATA": embedded(content),
        "SCRIPT": script,
    }
    head, *rest = _asset("page.html").split("{{")
    return head + "".join(parts[name] + text for name, _, text in (piece.partition("}}") for piece in rest))


def embedded(content: Mapping[str, Any]) -> str:
    """The content as JSON that may stand inside a script element, its long columns packed."""
    return _json(packed(content)).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def packed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the columns of tokens in base64: little-endian float32, int32, and bytes for the methods' factors."""
    small = {key: value for key, value in content.items() if key != "tokens"}
    small["tokens"] = []
    for record in content["tokens"]:
        one = copy.copy(record)
        numbers = {n: np.array([np.nan if x is None else x for x in v], "<f4") for n, v in record["columns"].items()}
        one["columns"] = {name: _base64(values) for name, values in numbers.items()}
        one["ids"] = _base64(np.array(record["ids"], "<i4"))
        one["would"] = {
            name: _base64(np.round(np.array(values) * WOULD_SCALE).clip(0, 255).astype("u1"))
            for name, values in record["would"].items()
        }
        small["tokens"].append(one)
    return small


def write_report(content: Mapping[str, Any], path: Path) -> tuple[Path, Path]:
    """Write the page, and its JSON twin beside it.

    Raises:
        ConfigError: it would replace a file that is no report, such as the log itself.
        SaveError: a file cannot be written.
    """
    twin = path.with_suffix(".json")
    if twin == path:
        raise ConfigError(f"--out {path}: its data goes into a file of that name: let the page's name end in .html")
    for each, begins in ((path, b"<!doctype html>"), (twin, b'{"schema":')):
        if each.is_file() and not _begins(each, begins):
            raise ConfigError(f"--out {path}: would replace {each}, which is no report: choose another --out")
    _write(path, page_of(content))
    _write(twin, _json(content) + "\n")
    return path, twin


def _begins(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(text)).lower() in (text, b"")


def _asset(name: str) -> str:
    return (resources.files("entrostat.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _base64(values: Any) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _json(values: Any) -> str:
    return json.dumps(values, allow_nan=False, ensure_ascii=True, separators=(",", ":"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror or error}. Choose another --out") from error
