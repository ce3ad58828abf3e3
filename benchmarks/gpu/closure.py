"""Which packages the kit needs: those of `entrostat[train]` and of the tests, at the versions of this environment.

Part 5 needs those of verl's tests, at the versions of verl's environment (`make .venv-verl/ready`), with another transformers.
All are pinned to what the suite runs with here, so nothing is resolved anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROOTS = ("entrostat[train]", "peft", "pytest", "hypothesis")
# Two of its dependencies have no wheel for Python 3.12; the kit's tasks are countdown and sums in a file of its own.
LEFT_OUT = ("reasoning-gym",)


def verl_site(root: Path = ROOT) -> Path | None:
    """The packages of verl's environment, where it was made."""
    return next(iter(root.glob(".venv-verl/lib/python*/site-packages")), None)


def verl_roots(root: Path = ROOT) -> list[str]:
    lines = (root / "tests" / "hosts" / "verl" / "requirements.txt").read_text().splitlines()
    return ["entrostat", *filter(None, (line.partition("#")[0].strip() for line in lines))]


def closure(
    have: Iterable[str], python: str, roots: Iterable[str] = ROOTS, site: Path | None = None
) -> list[Distribution]:
    """What has to be carried to a Linux machine with this version of Python that has `have`; entrostat itself is in the tree.

    site: the packages to look among; this environment's by default.
    """
    present = {canonicalize_name(name) for name in (*have, *LEFT_OUT)}
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(root) for root in roots]
    among: dict[str, Any] = {} if site is None else {"path": [str(site)]}
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if name in present or (name, extra) in seen:
                continue
            seen.add((name, extra))
            if (package := next(iter(Distribution.discover(name=name, **among)), None)) is None:
                where = "here: run from the development environment" if site is None else f"in {site}"
                raise SystemExit(f"{name} is needed and not installed {where}")
            found[name] = package
            platform = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
            platform |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
            for line in found[name].requires or []:
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate(platform):
                    todo.append(requirement)
    found.pop("entrostat")
    return [found[name] for name in sorted(found)]


def read_have(text: str) -> list[str]:
    """Names out of a list, one a line; comments and versions are passed over."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line.partition("@")[0].strip()).name for line in lines if line]
