"""What a folder must hold for transformers to load a policy from it: looked at, not loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError

CHOICES = "use 'tiny', 'tiny-hard', 'smollm2', a folder with a transformers model, or a hub id 'owner/name'"
_HUB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?/[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def checked(name_or_path: str) -> Any:
    """The transformers configuration in a policy's folder, looked at whole; None where only the hub, or peft, knows.

    Raises:
        ConfigError: no policy can be loaded by this name.
    """
    if not _is_folder(name_or_path):
        if _HUB.fullmatch(name_or_path) and ".." not in name_or_path and "--" not in name_or_path:
            return None
        raise ConfigError(f"model: no policy is called {name_or_path!r}; {CHOICES}")
    try:
        config, why = _looked_at(Path(name_or_path))
    except OSError as error:
        config, why = None, f"it cannot be read: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        config, why = None, f"its weights are damaged ({' '.join(str(error).split())})"
    if why is not None:
        raise ConfigError(f"model: the folder {name_or_path!r} holds no whole model: {why}; {CHOICES}")
    return config


def _is_folder(name_or_path: str) -> bool:
    """Whether there is a folder of that name; a name that no file system takes is none."""
    try:
        return bool(name_or_path) and Path(name_or_path).is_dir()
    except (OSError, ValueError):
        return False


def _looked_at(folder: Path) -> tuple[Any, str | None]:
    """The configuration in a folder, and why no policy can be loaded from it."""
    if (folder / "adapter_config.json").is_file():
        return None, None  # the base model is elsewhere; peft says what is wrong
    if not (folder / "config.json").is_file():
        return None, "it has no config.json"
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of any type: a file that is no JSON, a field of another kind
        return None, f"transformers can make nothing of its config.json ({' '.join(str(error).split())[:200]})"
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None, f"a {type(config).__name__} is not of a causal language model"
    if (why := weights_fault(folder)) is not None:
        return None, why
    return config, None if any((folder / name).is_file() for name in _TOKENIZERS) else "it has no tokenizer"


def weights_fault(folder: Path) -> str | None:
    """What is missing of a folder's weights, by their files' own account of their length; None where nothing is.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a file's head is damaged.
    """
    for name in _INDEX:
        if (folder / name).is_file():
            shards = set(json.loads((folder / name).read_text())["weight_map"].values())
            if lacking := sorted(shard for shard in shards if not (folder / shard).is_file()):
                return f"it has no {lacking[0]}, which {name} names"
    files = [*folder.glob("*.safetensors")]
    if not files:
        return None if any(folder.glob("*.bin")) else "it has no weights"
    for file in files:
        with file.open("rb") as stream:
            head = stream.read(8)
            length = int.from_bytes(head, "little")
            if not head:
                return f"{file.name} is empty"
            if len(head) < 8 or length > file.stat().st_size:
                return f"{file.name} is damaged"
            entries = json.loads(stream.read(length))
        end = max((entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"), default=0)
        if 8 + length + end != file.stat().st_size:
            return f"{file.name} is cut off"
    return None
