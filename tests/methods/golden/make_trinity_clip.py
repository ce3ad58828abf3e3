"""Makes `trinity_clip.json`: what Trinity-RFT's own Clip_B and Clip_V keep, on random inputs.

It imports the installed package (`pip install --no-deps trinity-rft==0.6.0`, into an environment of its own) and runs
its `ClipBAdvantageFn` and `ClipVAdvantageFn`. Only these two files of it are executed: the packages around them would
import verl and ray, so their `__init__` files are left out and the abstract base class is a stand-in. Nothing of
Trinity is in this repository but the numbers that it returned.

    python tests/methods/golden/make_trinity_clip.py
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

VERSION = "0.6.0"


def release() -> tuple[type, type]:
    """The two classes, from the installed package."""
    spec = importlib.util.find_spec("trinity")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"pip install --no-deps trinity-rft=={VERSION}")
    assert importlib.metadata.version("trinity-rft") == VERSION
    root = Path(next(iter(spec.submodule_search_locations)))
    for name in ("trinity", "trinity.algorithm", "trinity.algorithm.advantage_fn"):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    base = ModuleType("trinity.algorithm.advantage_fn.advantage_fn")
    base.AdvantageFn = object  # type: ignore[attr-defined]
    sys.modules[base.__name__] = base
    prefix = "trinity.algorithm.advantage_fn."
    return (
        importlib.import_module(prefix + "clipb_advantage").ClipBAdvantageFn,
        importlib.import_module(prefix + "clipv_advantage").ClipVAdvantageFn,
    )


def inputs(
    seed: int, groups: int, size: int, tokens: int, vocabulary: int, scale: float, equal: bool
) -> dict[str, Any]:
    """Statistics of random distributions and rewards of 0 or 1; `equal` gives the first group one reward throughout."""
    draw = torch.Generator().manual_seed(seed)
    rows = groups * size
    logits = scale * torch.randn(rows, tokens, vocabulary, generator=draw, dtype=torch.float64)
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    sampled = torch.multinomial(p.flatten(0, 1), 1, generator=draw).view(rows, tokens, 1)
    entropy = -(p * log_p).sum(-1)
    lengths = torch.randint(tokens // 2, tokens + 1, (rows, 1), generator=draw)
    reward = torch.randint(0, 2, (groups, size), generator=draw).float()
    reward[:, 0], reward[:, 1] = 0.0, 1.0  # every group has both, so no advantage is zero
    if equal:
        reward[0] = 0.0
    return {
        "logp": log_p.gather(-1, sampled).squeeze(-1).float(),
        "entropy": entropy.float(),
        "baseline": (p.square() * (entropy.unsqueeze(-1) + log_p)).sum(-1).float(),
        "mask": (torch.arange(tokens) < lengths).long(),
        "reward": reward.flatten(),
        "group": [i // size for i in range(rows)],
    }


def run(method: Any, case: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and the response mask that the release leaves."""
    rewards = torch.zeros_like(case["logp"])
    rewards[:, 0] = case["reward"]
    batch = {
        "token_level_rewards": rewards,
        "response_mask": case["mask"].clone(),
        "rollout_log_probs": case["logp"].clone(),
        "old_log_probs": case["logp"].clone(),
        "entropys": case["entropy"].clone(),
        "necs": case["baseline"].clone(),
    }
    after, _ = method(SimpleNamespace(batch=batch, non_tensor_batch={"uid": case["group"]}))
    return after.batch["advantages"], after.batch["response_mask"]


def plain(value: Any) -> Any:
    """Nested lists; nine digits are enough to give back every fp32 number."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main() -> None:
    clip_b, clip_v = release()
    shapes = [(0, 2, 4, 16, 6, 2.0, False), (1, 4, 2, 12, 9, 1.0, False), (2, 2, 4, 16, 5, 3.0, True)]
    settings = [
        ("clip_b", {"mu": 0.3}, {"mu": 0.3}),
        ("clip_b", {"mu": 1.0}, {"mu": 1.0}),
        ("clip_b", {"mu": 2.5}, {"mu": 2.5}),
        ("clip_v", {"mu": 0.5, "max_frac": 1.0}, {"mu": 0.5, "largest_share": 1.0}),
        ("clip_v", {"mu": 0.5, "max_frac": 0.05}, {"mu": 0.5, "largest_share": 0.05}),
        ("clip_v", {"mu": 1.0, "max_frac": 1e-4}, {"mu": 1.0, "largest_share": 1e-4}),
        ("clip_v", {"mu": 8.5, "max_frac": 1e-4}, {"mu": 8.5, "largest_share": 1e-4}),
    ]
    cases = []
    for shape in shapes:
        case = inputs(*shape)
        results = []
        for name, theirs, ours in settings:
            advantages, kept = run((clip_b if name == "clip_b" else clip_v)(**theirs), case)
            results.append({"method": name, "release": theirs, "options": ours, "kept": kept.tolist()})
        tensors = {k: plain(v) for k, v in (case | {"advantages": advantages}).items()}
        cases.append({"seed": shape[0], **tensors, "results": results})
    record = {"made_by": f"trinity-rft {VERSION}, ClipBAdvantageFn and ClipVAdvantageFn", "cases": cases}
    path = Path(__file__).with_name("trinity_clip.json")
    path.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
