"""Part 3: an update under TRL's GRPO, controlled beside plain, step by step in turn within one process.

Random weights in the shapes of Qwen3 and Gemma 3, one fixed batch of random completions, so that nothing but the update is timed.
A pair is plain GRPO and one method under one variant: bf16 autocast, gradient checkpointing, torch.compile, LoRA, eager
attention. Completions are of several lengths, as in training; under `flash` of one, where SDPA needs no mask and can take its
flash kernel. `ratio` is that of the medians, `memory_ratio` that of each side's own weights, optimizer and peak of the update.
`waits` are what the profiler sees of the host waiting for the device in one optimizer step of each side.
"""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
import threading
import time
from statistics import median, quantiles
from typing import Any

import torch
from record import ROOT, Results

sys.path.append(str(ROOT / "benchmarks" / "speed"))

# Layers, width, inner width, heads, heads of keys, head size, vocabulary: Qwen3 0.6B and 1.7B, Gemma 3 1B.
SHAPES = {
    "qwen3-0.6b": ("qwen3", 28, 1024, 3072, 16, 8, 128, 151_936),
    "qwen3-1.7b": ("qwen3", 28, 2048, 6144, 16, 8, 128, 151_936),
    "gemma3-1b": ("gemma3_text", 26, 1152, 6912, 4, 1, 256, 262_144),
}
SMALL = {"qwen3-small": ("qwen3", 2, 32, 64, 4, 2, 8, 512)}
VARIANTS: dict[str, dict[str, Any]] = {
    "bf16": {},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {},
    "flash": {},
    "eager": {},
    "compile": {"torch_compile": True},
}
METHODS = ("observe", "hold", "flow", "clip_v")
# In the profiler's words: the host waits for the device (whatever the runtime or the driver calls it), fetches something, or
# asks for a number that is there.
WAITS = ("Synchronize", "Memcpy DtoH", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")
LAUNCH = "LaunchKernel"


def model(shape: tuple[Any, ...], variant: str, device: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, layers, width, inner, heads, key_heads, head, vocabulary = shape
    config = AutoConfig.for_model(
        kind, num_hidden_layers=layers, hidden_size=width, intermediate_size=inner, num_attention_heads=heads,
        num_key_value_heads=key_heads, head_dim=head, vocab_size=vocabulary, tie_word_embeddings=True,
        max_position_embeddings=4096, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    attention = "eager" if variant == "eager" else "sdpa"
    with torch.device(device):  # a CPU takes ten times as long to draw them
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)


def written(vocabulary: int, length: int, end: int, ragged: bool) -> Any:
    """In place of `generate`: random tokens, as random weights write them. To sample them takes longer than all updates."""

    def generate(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        here = input_ids.device
        draw = torch.Generator(here).manual_seed(0)  # the same for both sides
        rows = torch.arange(len(input_ids), device=here)
        ids = torch.randint(vocabulary // 2, vocabulary, (len(rows), length), device=here, generator=draw)
        if ragged:
            ids[rows, length * (rows % 4 + 1) // 4 - 1] = end
        return torch.cat([input_ids, ids], 1)

    return generate


def trainer(
    shape: tuple[Any, ...], variant: str, method: str | None, device: str, sizes: dict[str, int], side: Any
) -> Any:
    from datasets import Dataset
    from overhead import made
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    import entrostat as es
    from entrostat.models import load_policy

    tokenizer = load_policy("tiny").tokenizer
    base = GRPOTrainer if method is None else es.trl.controlled(GRPOTrainer, made(method))

    class Fixed(base):  # type: ignore[misc, valid-type]
        """Takes one batch, and trains on it from then on."""

        _kept_batch: dict[str, Any] | None = None

        def _prepare_inputs(self, generation_batch: Any) -> Any:
            if self._kept_batch is None:
                self._kept_batch = super()._prepare_inputs(generation_batch)
            return dict(self._kept_batch)

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(i % 3) for i in range(len(completions))]

    peft = None
    if variant == "lora":
        from peft import LoraConfig

        peft = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], r=8)
    arguments = {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": sizes["batch"], "num_generations": 4,
        "max_completion_length": sizes["length"],
        "learning_rate": 1e-9, "max_steps": sizes["steps"], "beta": 0.0, "logging_steps": 1, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "use_cpu": device == "cpu", "bf16": True,
        "gradient_checkpointing": False, **VARIANTS[variant],
    }  # fmt: skip
    policy = model(shape, variant, device)
    policy.generate = written(shape[-1], sizes["length"], tokenizer.eos_token_id, ragged=variant != "flash")
    found = Fixed(
        model=policy, processing_class=tokenizer, reward_funcs=reward, peft_config=peft,
        train_dataset=Dataset.from_dict({"prompt": ["1 2 3"] * 64}), args=GRPOConfig(**arguments), callbacks=[side],
    )  # fmt: skip
    found.remove_callback(PrinterCallback)
    return found


def waits_in(counts: dict[str, int], device: str) -> dict[str, int]:
    """Of a profile's events, the waits; `not seen` where the profiler saw nothing of the device, which is no zero."""
    if device == "cuda" and not any(LAUNCH in name for name in counts):
        return {"not seen": 1}
    return {name: count for name, count in counts.items() if any(part in name for part in WAITS)}


def wake_profiler(device: str) -> dict[str, Any]:
    """Its first start takes seconds, and wants the main thread; the trainers' are threads. What it sees of one wait."""
    with torch.profiler.profile() as profiler:
        torch.ones(2, device=device).sum().item()
    return {"waits": waits_in({event.key: event.count for event in profiler.key_averages()}, device)}


def bytes_of(host: Any) -> int:
    """Weights and optimizer state of a trainer: what it holds between two updates. Its gradients are gone by then."""
    state = host.optimizer.state.values() if host.optimizer is not None else ()
    held = [value for each in state for value in each.values() if isinstance(value, torch.Tensor)]
    held += host.model.parameters()
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def pair(
    shape: tuple[Any, ...], variant: str, method: str, device: str, sizes: dict[str, int], profiles: bool
) -> dict[str, Any]:
    """Both sides of one comparison; without its waits where the profiler does not work."""
    from overhead import Turns
    from transformers import TrainerCallback

    turns, profiled = Turns(["plain", "controlled"]), sizes["steps"] - 1
    peaks: dict[str, int] = {}
    waits: dict[str, dict[str, int]] = {}
    failed: dict[str, BaseException] = {}

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    class Side(TrainerCallback):
        """Takes the turn for one optimizer step and what the trainer does until the next; one is profiled and not timed."""

        def __init__(self, name: str) -> None:
            self.name, self.number = name, 0
            self.profiler: Any = None

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.number:  # its log of the last step is written by now, and disturbs nobody's step
                turns.give(self.name)
            turns.take(self.name)
            self.number += 1
            if self.number == profiled and profiles:
                self.profiler = torch.profiler.profile()
                self.profiler.start()
            if device == "cuda":
                wait()
                torch.cuda.reset_peak_memory_stats()
                self.before = torch.cuda.memory_allocated()
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait()
            seconds = time.perf_counter() - self.began
            if device == "cuda":
                peaks[self.name] = torch.cuda.max_memory_allocated() - self.before
            if self.profiler is not None:
                self.profiler.stop()
                waits[self.name] = waits_in({event.key: event.count for event in self.profiler.key_averages()}, device)
                self.profiler = None
            elif self.number > 2:  # the first two may compile
                turns.seconds[self.name].append(seconds)

    sides = {name: None if name == "plain" else method for name in turns.names}
    trainers = {name: trainer(shape, variant, each, device, sizes, Side(name)) for name, each in sides.items()}

    def work(name: str) -> None:
        try:
            trainers[name].train()
        except BaseException as error:  # the other side must not wait for ever
            failed[name] = error
        turns.names = [each for each in turns.names if each != name] or [name]
        with turns.change:
            turns.turn = turns.names[0]
            turns.change.notify_all()

    threads = [threading.Thread(target=work, args=(name,)) for name in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        name, error = next(iter(failed.items()))
        raise RuntimeError(f"the {name} side: {type(error).__name__}: {error}") from error
    plain, controlled = turns.seconds["plain"], turns.seconds["controlled"]
    ratios = [c / p for p, c in zip(plain, controlled, strict=False)]
    row: dict[str, Any] = {
        "seconds": {"plain": median(plain), "controlled": median(controlled)},
        "ratio": round(median(controlled) / median(plain), 4),
        "paired_ratio_quartiles": [round(value, 4) for value in quantiles(ratios, n=4)],
        "steps": len(ratios),
        "waits": waits,
    }
    if peaks:
        total = {name: bytes_of(trainers[name]) + peaks[name] for name in sides}
        row |= {"peak_mb": {name: round(value / 2**20, 1) for name, value in total.items()}}
        row["memory_ratio"] = round(total["controlled"] / total["plain"], 4)
    return row


def worth(first: str, name: str, variant: str, method: str) -> int:
    """In which round a case comes, since a time limit cuts off the rest.

    The first shape under every method and variant; the other shapes under every method; the compiler, which takes minutes; the
    other shapes' variants; everything else.
    """
    if variant != "bf16" and method != "hold":
        return 4
    if name == first:
        return 2 if variant == "compile" else 0
    return 1 if variant == "bf16" else 3


def main(device: str, results: Results, rehearse: bool) -> None:
    sizes = {"batch": 4, "length": 8, "steps": 5} if rehearse else {"batch": 16, "length": 512, "steps": 20}
    shapes = SMALL if rehearse else SHAPES
    variants = ("checkpointing",) if rehearse else tuple(VARIANTS)
    methods = ("flow",) if rehearse else METHODS
    first = next(iter(shapes))
    cases = sorted(itertools.product(shapes, variants, methods), key=lambda case: worth(first, *case))
    awake = {"profiler": torch.__version__}
    profiles = results.measure(awake, lambda: wake_profiler(device))
    for name, variant, method in cases:
        if not results.left():
            results.left_out += 1
            break
        # Of the largest, two trainers and the activations of 16 rows are more than 80 GB.
        own = sizes | {"batch": 8} if name == "qwen3-1.7b" else sizes
        results.measure(
            {"model": name, "variant": variant, "method": method, **own},
            lambda name=name, variant=variant, method=method, own=own: pair(
                shapes[name], variant, method, device, own, profiles
            ),
        )
        if variant == "compile":
            torch._dynamo.reset()  # after eight models torch would compile no more, and say nothing
        gc.collect()  # a trainer and its callbacks hold each other
        if device == "cuda":
            torch.cuda.empty_cache()
