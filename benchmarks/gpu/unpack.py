"""Put packed folders' wheels where the kit finds them: `python3 benchmarks/gpu/unpack.py FOLDER ... [--into build/gpu]`.

Needs the standard library alone. Folders may come one at a time and in any order: pieces are kept in `pieces/` until their file
is whole, every piece and every file is checked by its hash, and a wheel that is whole is unpacked into `site-packages/` (under
another name dill takes what is there for the user's own code, and pickles it whole), what verl needs into `verl/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path

INTO = Path(__file__).parents[2] / "build" / "gpu"


def check(data: bytes, sha256: str, name: str) -> bytes:
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise SystemExit(
            f"{name} has sha256 {found}, expected {sha256}: it was damaged on the way, send its folder again"
        )
    return data


def install(wheel: Path, site: Path) -> None:
    """A wheel's files; those that it keeps in `.data/purelib` and `.data/platlib` go to the top, its scripts nowhere."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            parts = Path(member.filename).parts
            if member.is_dir() or ".." in parts or Path(member.filename).is_absolute():
                continue
            if parts[0].endswith(".data"):
                if parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            target = site.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(member))


def unpack(folder: Path, into: Path) -> list[str]:
    """Takes in one folder; returns the names of the files that it made whole."""
    pieces, done = into / "pieces", into / "unpacked.json"
    pieces.mkdir(parents=True, exist_ok=True)
    unpacked: dict[str, str] = json.loads(done.read_text()) if done.exists() else {}
    whole = []
    for entry in json.loads((folder / "manifest.json").read_text()):
        name = entry["file"]
        if unpacked.get(name) == entry["sha256"]:
            continue
        data = check((folder / entry["stored"]).read_bytes(), entry["piece_sha256"], entry["stored"])
        (pieces / entry["stored"]).write_bytes(data)
        every = [pieces / f"{name}.{number}" for number in range(entry["pieces"])]
        if not all(piece.exists() for piece in every):
            continue
        wheel = pieces / name
        wheel.write_bytes(check(b"".join(piece.read_bytes() for piece in every), entry["sha256"], name))
        for site in entry["sites"]:
            install(wheel, into / site)
        for piece in (*every, wheel):
            piece.unlink()
        unpacked[name] = entry["sha256"]
        done.write_text(json.dumps(unpacked, indent=1) + "\n")
        whole.append(name)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, default=INTO)
    options = parser.parse_args()
    count = sum(len(unpack(folder, options.into)) for folder in options.folders)
    waiting = {piece.name.rpartition(".")[0] for piece in (options.into / "pieces").iterdir()}
    print(
        f"{count} wheels unpacked into {options.into}" + (f"; pieces missing of {sorted(waiting)}" if waiting else "")
    )


if __name__ == "__main__":
    main()
