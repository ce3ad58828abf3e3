"""Which method works in which host, and why not where it does not: the table of docs/capabilities.md.

    python -m entrostat.hosts.capabilities > docs/capabilities.md

Read off the methods themselves (what they require, what they write), so a new method is in the table without a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from entrostat.core.host import LOOP, Host
from entrostat.hosts.trl.express import host_with
from entrostat.hosts.trl.loss import LOSSES
from entrostat.hosts.verl.batch import needs_loss
from entrostat.hosts.verl.settings import VERL
from entrostat.methods import Chain, names
from entrostat.methods.cards import example


@dataclass(frozen=True)
class Column:
    """A host in one of its settings: `verdict` says yes, or no with the number of the reason."""

    name: str
    verdict: Callable[[Chain], str]


REASONS = {
    "stale": "acts only where importance ratios differ from 1: with several optimizer steps per batch, or on stale samples. The "
    "host warns if neither is the case",
    "loss": "replaces the workers' loss with verl's own plus a clip range and added terms (`set_loss_fn`). Refused beside "
    "distillation, which replaces the loss too",
    "hidden": "the fused torch head never builds the logits, so Entrostat replaces it by its own, which computes the same "
    "statistics from the hidden states. In verl 0.9.1 it runs with FSDP2 only if the model ties its head to its embedding",
    "blind": "these heads show neither logits nor hidden states. Set `fused_kernel_options.impl_backend=torch` or "
    "`use_fused_kernels=False`",
    "untested": "written to verl's hook. The arithmetic over a split vocabulary is tested with two processes; Megatron itself "
    "is not",
    "sampling": "verl fixes the sampling temperature when its rollout workers start",
    "rloo": "RLOO clips one ratio for the whole sequence, so it takes no other loss per token and no second clip",
    "worker": "needs something that verl's driver cannot send to the workers: another loss per token, tokens without gradient, a "
    "clip range per token, or statistics with a parameter or of the old policy",
    "bypass": "`rollout_correction.bypass_mode=True` skips the forward pass that measures the entropy",
    "tempered": "samples some groups at another temperature, in one call of transformers' `generate`. Refused with vLLM, "
    "continuous batching, tools or your own rollout function",
}


def _yes(*reasons: str) -> str:
    return " ".join(["yes", *(f"[{1 + list(REASONS).index(r)}]" for r in reasons)])


def _no(reason: str) -> str:
    return f"no [{1 + list(REASONS).index(reason)}]"


def _of(host: Host, reason: str) -> Callable[[Chain], str]:
    """The verdict of a host's own record; `reason` says why not."""

    def verdict(method: Chain) -> str:
        tempered = ["tempered"] if method.tempers_groups and host is not LOOP else []
        return _no(reason) if host.lacks(method) else _yes(*(["stale"] if method.needs_stale_data else []), *tempered)

    return verdict


def _verl(method: Chain) -> str:
    """One verdict for every engine of verl: what an engine adds is a sentence under the table."""
    if "sampling" in method.stages:
        return _no("sampling")
    if VERL.lacks(method):
        return _no("worker")
    stale = ["stale"] if method.needs_stale_data else []
    return _yes(*stale, *(["loss"] if needs_loss(method) else []))


COLUMNS = (
    Column("own loop", _of(LOOP, "stale")),
    Column("TRL GRPO", _of(host_with("GRPO", LOSSES["dapo"]), "rloo")),
    Column("TRL RLOO", _of(host_with("RLOO", LOSSES["rloo"], delta=False), "rloo")),
    Column("verl", _verl),
)
ENGINES = {"FSDP with the fused torch head": "hidden", "Megatron": "untested"}
"""Engines of verl for which the same verdicts hold, each with a remark."""
NOWHERE = {"with a fused Triton or Liger head": "blind", "in bypass mode": "bypass"}
"""Settings of verl in which no method works, and why."""


def acts_through(method: Chain) -> str:
    """What of the objective a method changes, in words."""
    words = {
        "advantages": "advantages",
        "rows": "rows of the batch",
        "stopped_BT": "tokens without gradient",
        "form": "the loss of a token",
        "dual_clip": "clip range",
        "advantages_BT": "advantages",
        "weight_BT": "token weights",
        "keep_BT": "dropped tokens",
        "eps_low": "clip range",
        "eps_high": "clip range",
        "temperature": "sampling temperature",
        "group_temperatures": "sampling temperature of some groups",
    }
    named = [words[w] for w in sorted(method.writes) if w in words] + (["an added term"] if method.adds_terms else [])
    return ", ".join(dict.fromkeys(named)) or "nothing: it measures"


def _numbered(settings: dict[str, str], joined: str) -> str:
    """Each setting with the number of its remark."""
    return joined.join(f"{setting} [{1 + list(REASONS).index(reason)}]" for setting, reason in settings.items())


def table() -> str:
    """The page as Markdown."""
    lines = [
        "# Which method works where",
        "",
        f"This page says which of the {len(names())} methods work in your own loop, in TRL and in verl. Numbers in brackets are "
        "explained below the table.",
        "",
        "| method | acts through | " + " | ".join(host.name for host in COLUMNS) + " |",
        "| --- | --- | " + " | ".join("---" for _ in COLUMNS) + " |",
    ]
    for name in names():
        method = example(name)
        cells = [f"`{name}`", acts_through(method), *(host.verdict(method) for host in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"The verl column is for FSDP. It also holds for {_numbered(ENGINES, ' and for ')}. No method works in verl "
        f"{_numbered(NOWHERE, ' or ')}.",
        "",
        *(f"{i}. {reason}." for i, reason in enumerate(REASONS.values(), 1)),
        "",
        "Control works with verl's trainers `entrostat_sync` and `entrostat_colocate_async`, not with its separate asynchronous "
        "trainer or its legacy trainer (`use_v1=False`).",
        "",
        "**When an output acts.** In your own loop and in TRL, a controller's output acts from the next optimizer step on. In "
        "verl the driver has the global batch before the update, so the controller acts on the same batch that it measured.",
        "",
        "Generated by `python -m entrostat.hosts.capabilities`; do not edit.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
