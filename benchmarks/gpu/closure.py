"""Which packages the kit needs: those of `entrostat[train]` and of the tests, at the versions of this environment.

Part 5 needs those of verl's tests, at the versions of verl's environment (`make .venv-verl/ready`), with another transformers.
All are pinned to what the suite runs with here, so nothing is resolved anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROOTS = ("entrostat[train]", "peft", "pytest", "hypothesis")
# Two of its dependencies have no wheel for Python 3.12; the kit's tasks are countdown and sums in a file of its own.
LEFT_OUT = ("reasoning-gym",)
KEPT = ("torch", "triton")  # the target's own, whatever else is carried


def verl_site(root: Path = ROOT) -> Path | None:
    """The packages of verl's environment, where it was made."""
    return next(iter(root.glob(".venv-verl/lib/python*/site-packages")), None)


def verl_roots(root: Path = ROOT) -> list[str]:
    lines = (root / "tests" / "hosts" / "verl" / "requirements.txt").read_text().splitlines()
    return ["entrostat", *filter(None, (line.partition("#")[0].strip() for line in lines))]


def closure(
    have: Mapping[str, str], python: str, roots: Iterable[str] = ROOTS, site: Path | None = None
) -> list[Distribution]:
    """What has to be carried to a Linux machine with this version of Python; entrostat itself is in the tree.

    have: what the target has, name to version; "" takes it as it is. What the target has in a version that does not do is
        carried, and with it those that build on it there in another version than here: they may want the one that they came with.
    site: the packages to look among; this environment's by default.
    """
    present = {canonicalize_name(name): version for name, version in have.items()} | dict.fromkeys(LEFT_OUT, "")
    found: dict[str, Distribution] = {}
    wants = _Wants(python, site)

    def carry(todo: list[Requirement]) -> None:
        seen: set[str] = set()
        while todo:
            wanted = todo.pop()
            name = canonicalize_name(wanted.name)
            version = present.get(name)
            does = version is not None and (not version or wanted.specifier.contains(version, prereleases=True))
            if str(wanted) in seen or (does and name not in found):
                continue
            seen.add(str(wanted))
            found[name] = wants.package(name)
            todo += wants.of(wanted)

    carry([Requirement(root) for root in roots])
    reached = wants.everything(roots, stop=[name for name, version in present.items() if not version])
    while True:
        replaced = {name for name in found if name in present}
        others = [
            name for name in reached
            if name in present and name not in found and name not in KEPT and present[name] != wants.package(name).version
            and any(canonicalize_name(each.name) in replaced for each in wants.of(Requirement(name)))
        ]  # fmt: skip
        if not others:
            break
        for name in others:
            found[name] = wants.package(name)
        carry([each for name in others for each in wants.of(Requirement(name))])
    found.pop("entrostat")
    return [found[name] for name in sorted(found)]


class _Wants:
    """What packages that are installed here need on the target."""

    def __init__(self, python: str, site: Path | None) -> None:
        self.site = site
        self.among: dict[str, Any] = {} if site is None else {"path": [str(site)]}
        self.platform = {"python_version": python, "python_full_version": f"{python}.0"}
        self.platform |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}

    def package(self, name: str) -> Distribution:
        if (found := next(iter(Distribution.discover(name=name, **self.among)), None)) is None:
            where = "here: run from the development environment" if self.site is None else f"in {self.site}"
            raise SystemExit(f"{name} is needed and not installed {where}")
        return found

    def of(self, wanted: Requirement) -> list[Requirement]:
        """The requirements of a package and of the extras that are asked for."""
        lines = [Requirement(line) for line in self.package(canonicalize_name(wanted.name)).requires or []]
        extras = ("", *sorted(wanted.extras))
        return [
            line
            for line in lines
            if line.marker is None or any(line.marker.evaluate(self.platform | {"extra": extra}) for extra in extras)
        ]

    def everything(self, roots: Iterable[str], stop: Iterable[str]) -> set[str]:
        """Names of all that is needed, whoever has it, but for what only packages in `stop` need."""
        seen: set[str] = set()
        passed_over, todo = {*stop, *KEPT}, [Requirement(root) for root in roots]
        while todo:
            wanted = todo.pop()
            name = canonicalize_name(wanted.name)
            if name in passed_over or str(wanted) in seen:
                continue
            seen.add(str(wanted))
            if next(iter(Distribution.discover(name=name, **self.among)), None) is not None:
                todo += self.of(wanted)
        return {canonicalize_name(Requirement(each).name) for each in seen}


def read_have(text: str) -> dict[str, str]:
    """Name to version, "" where none is told, out of a list, one a line; comments are passed over."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    wanted = [Requirement(line.partition("@")[0].strip()) for line in lines if line]
    return {each.name: next((part.version for part in each.specifier if part.operator == "=="), "") for each in wanted}
