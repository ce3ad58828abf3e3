"""Which packages the kit needs: those of `entrostat[train]` and of the tests, at the versions of this environment.

They are pinned to what the suite runs with here, so nothing is resolved anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOTS = ("entrostat[train]", "peft", "pytest", "hypothesis")
# Two of its dependencies have no wheel for Python 3.12; the kit's tasks are countdown and sums in a file of its own.
LEFT_OUT = ("reasoning-gym",)


def closure(have: Iterable[str], python: str) -> list[Distribution]:
    """What has to be carried to a Linux machine with this version of Python that has `have`; entrostat itself is in the tree."""
    present = {canonicalize_name(name) for name in (*have, *LEFT_OUT)}
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(root) for root in ROOTS]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if name in present or (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found[name] = distribution(name)
            except PackageNotFoundError as error:
                raise SystemExit(
                    f"{name} is needed and not installed here: run from the development environment"
                ) from error
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
