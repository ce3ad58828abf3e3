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
    "stale": "acts only where importance ratios differ from 1: several optimizer steps per batch, or stale samples. The host "
    "warns where that is not so",
    "loss": "the workers' loss is replaced by verl's own with a clip range and added terms (`set_loss_fn`); not beside "
    "distillation, which replaces it too",
    "hidden": "the fused head never builds the logits; the torch implementation is swapped for ours, which goes from hidden "
    "states to the same statistics. In verl 0.9.1 it runs with FSDP2 only where the model ties its head to its embedding",
    "blind": "the Triton and Liger implementations show neither logits nor hidden states: set "
    "`fused_kernel_options.impl_backend=torch` or `use_fused_kernels=False`",
    "untested": "written to verl's hook; its arithmetic over a split vocabulary is tested with two processes, Megatron itself "
    "is not",
    "sampling": "verl fixes the sampling temperature when its rollout workers start",
    "rloo": "RLOO clips one ratio of the whole sequence, so it can carry no other loss of a token and no second clip",
    "worker": "needs what verl's driver cannot hand to the workers: a loss of its own for each token, tokens without gradient, "
    "a clip range per token, or statistics with a parameter or of the old policy",
    "bypass": "`rollout_correction.bypass_mode=True` skips the forward pass that measures the entropy",
    "tempered": "samples some groups at a temperature of their own, in one call of transformers' `generate`: refused with vLLM, "
    "continuous batching, tools or a rollout function of one's own",
}


def _yes(*reasons: str) -> str:
    return " ".join(["yes", *(f"[{1 + list(REASONS).index(r)}]" for r in reasons)])


def _no(reason: str) -> str:
    return f"no [{1 + list(REASONS).index(reason)}]"


def _of(host: Host, reason: str) -> Callable[[Chain], str]:
    """The verdict of a host's own record; `reason` tells why where it is no."""

    def verdict(method: Chain) -> str:
        tempered = ["tempered"] if method.tempers_groups and host is not LOOP else []
        return _no(reason) if host.lacks(method) else _yes(*(["stale"] if method.needs_stale_data else []), *tempered)

    return verdict


def _verl(method: Chain, *reasons: str) -> str:
    """What holds for every engine of verl; `reasons` are told where it works."""
    if "sampling" in method.stages:
        return _no("sampling")
    if VERL.lacks(method):
        return _no("worker")
    return _yes(*reasons, *(["loss"] if needs_loss(method) else []))


def _fsdp(method: Chain) -> str:
    return _verl(method, *(["stale"] if method.needs_stale_data else []))


def _fused(method: Chain) -> str:
    return _verl(method, "hidden")


def _megatron(method: Chain) -> str:
    return _verl(method, "untested")


COLUMNS = (
    Column("own loop", _of(LOOP, "stale")),
    Column("TRL GRPO", _of(host_with("GRPO", LOSSES["dapo"]), "rloo")),
    Column("TRL RLOO", _of(host_with("RLOO", LOSSES["rloo"], delta=False), "rloo")),
    Column("verl FSDP", _fsdp),
    Column("verl FSDP, fused torch head", _fused),
    Column("verl Megatron", _megatron),
)
NOWHERE = {"with a fused Triton or Liger head": "blind", "in bypass mode": "bypass"}
"""Settings of verl in which no method works, and why: a sentence in place of a column that is the same in every row."""


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


def table() -> str:
    """The page as Markdown."""
    lines = [
        "# Which method works where",
        "",
        f"{len(names())} methods, and whether each works in a loop of your own, in TRL and in verl. A number in brackets is "
        "explained below the table.",
        "",
        "| method | acts through | " + " | ".join(host.name for host in COLUMNS) + " |",
        "| --- | --- | " + " | ".join("---" for _ in COLUMNS) + " |",
    ]
    for name in names():
        method = example(name)
        cells = [f"`{name}`", acts_through(method), *(host.verdict(method) for host in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
    nowhere = " or ".join(f"{setting} [{1 + list(REASONS).index(reason)}]" for setting, reason in NOWHERE.items())
    lines += ["", f"In verl no method works {nowhere}."]
    lines += ["", *(f"{i}. {reason}." for i, reason in enumerate(REASONS.values(), 1)), ""]
    lines += [
        "verl's trainers: `entrostat_sync` and `entrostat_colocate_async`. The separate asynchronous trainer and the legacy "
        "trainer (`use_v1=False`) have no entropy control.",
        "",
        "In a loop of one's own and in TRL, a controller's output acts from the next optimizer step on. In verl's driver the "
        "global batch is at hand before its update, so the controller acts on the very batch that it measured.",
        "",
        "Generated by `python -m entrostat.hosts.capabilities`; do not edit.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
