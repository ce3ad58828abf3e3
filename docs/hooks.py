"""What MkDocs needs to show these pages, which are written to be read in the repository too.

Formulas become MathML when the site is built: no script, nothing fetched. A link that leaves the folder of the pages has no
place in the site; it is shown as the path that it leads to. A picture from there is taken into the site. A picture with a dark
one beside it, `NAME-dark.png`, gives way to that one where the reader has the dark colors.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

METHODS = "A page for each"
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.S)
INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])")
ELSEWHERE = "README|CHANGELOG|CONTRIBUTING|benchmarks|examples|src|tests"
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.png)\)")
OUTSIDE = re.compile(rf"\[([^\]]+)\]\((?:\.\./)+((?:{ELSEWHERE})[^)#]*)(?:#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """The navigation with a page for each method, in order of their names."""
    every = sorted(path.name for path in (Path(config.docs_dir) / "methods").glob("*.md"))
    named = {name for name in re.findall(r"methods/([\w.]+)", str(config.nav))}
    for section in config.nav:
        for pages in section.values():
            for page in pages if isinstance(pages, list) else ():
                if page == {METHODS: "methods/"}:
                    page[METHODS] = [{name[:-3]: f"methods/{name}"} for name in every if name not in named]
    return config


def on_files(files: Any, config: Any) -> Any:
    """The site's files with the pictures that pages show from outside their folder, each at its path in the repository."""
    folder = Path(config.docs_dir)
    for path in sorted(folder.rglob("*.md")):
        for _, target in PICTURE.findall(path.read_text(encoding="utf-8")):
            picture = (path.parent / target).resolve()
            if picture.is_relative_to(folder.parent) and not picture.is_relative_to(folder):
                inside = picture.relative_to(folder.parent).as_posix()
                if files.get_file_from_path(inside) is None:
                    files.append(File.generated(config, inside, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """The page's text with its formulas as MathML and without links out of the folder; code is left alone."""
    parts = CODE.split(markdown)
    known = {file.src_uri for file in files}
    return "".join(part if index % 2 else _shown(part, page.file.src_uri, known) for index, part in enumerate(parts))


def _shown(text: str, page: str, known: set[str]) -> str:
    up = page.count("/") + 1

    def picture(match: re.Match[str]) -> str:
        """Within the site, and the dark one beside it where there is one."""
        words, target = match.groups()
        if target.startswith("../" * up):
            target = target[3:]
        dark = target.removesuffix(".png") + "-dark.png"
        if posixpath.normpath(posixpath.join(posixpath.dirname(page), dark)) not in known:
            return f"![{words}]({target})"
        return f"![{words}]({target}#only-light) ![{words}]({dark}#only-dark)"

    def outside(match: re.Match[str]) -> str:
        return f"{match[1]} (`{match[2]}`)" if match[0].count("../") >= up else match[0]

    text = OUTSIDE.sub(outside, PICTURE.sub(picture, text))
    text = DISPLAYED.sub(
        lambda match: f"\n\n<div class=formula>{convert(_plain(match[1]), display='block')}</div>\n\n", text
    )
    # Within a span: a line that began with <math> would be taken for a block of HTML.
    return INLINE.sub(lambda match: f"<span>{convert(_plain(match[1]))}</span>", text)


def _plain(formula: str) -> str:
    """The formula in one line, without commands that the converter does not know."""
    return re.sub(r"\\(?:lvert|rvert)\b", "|", " ".join(formula.split())).replace(r"\_", "_")
