"""`entrostat methods`: the published methods, each beside its paper."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show one method in full.")] = None,
) -> None:
    """List the methods: what they do to the entropy, at which stage, where they work; with NAME, one in full."""
    from rich.console import Console

    from entrostat.methods import names

    console = Console(soft_wrap=True)
    if name is not None:
        _card(console, name)
        return
    for each in ("", *names()):
        console.print(_row(each), markup=False, highlight=False)
    console.print("\nentrostat methods NAME shows one in full; es.chain(a, b) composes them.", highlight=False)


def _row(name: str) -> str:
    """A line of the list; the heading for no name."""
    if not name:
        return f"{'method':28} {'entropy':7} {'stage':16} {'works in':14} paper"
    from entrostat.methods.cards import described

    about = described(name)
    return f"{name:28} {about.effect:7} {', '.join(about.stages):16} {' '.join(_hosts(name)):14} {about.source.paper}"


def _hosts(name: str) -> list[str]:
    """Where a method works with its defaults; docs/capabilities.md has the hosts' settings."""
    from entrostat.core.host import LOOP
    from entrostat.hosts.trl.express import host_with
    from entrostat.hosts.trl.loss import LOSSES
    from entrostat.hosts.verl.settings import VERL
    from entrostat.methods.cards import example

    hosts = {"loop": LOOP, "trl": host_with("TRL", LOSSES["dapo"]), "verl": VERL}
    return [host for host, record in hosts.items() if not record.lacks(example(name))]


def _card(console: object, name: str) -> None:
    import textwrap

    from rich.console import Console
    from rich.text import Text

    from entrostat.methods.cards import described

    assert isinstance(console, Console)
    about = described(name)

    def line(text: str = "") -> None:
        """Whole where it is piped; on a terminal broken between words, under what it continues."""
        indent = " " * (4 if text.startswith(" ") else 11)
        broken = textwrap.wrap(text, min(console.width, 100), subsequent_indent=indent, break_long_words=False)
        console.print(Text("\n".join(broken) if console.is_terminal and text != about.formula else text))

    line(f"{about.name}: {about.idea}")
    line()
    if about.formula:
        line(about.formula)
        line()
    line(f"source:    {about.source.cited}")
    line(f"defaults:  {about.source.defaults}")
    line(f"entropy:   {about.effect}")
    line(f"stage:     {', '.join(about.stages)}")
    line(f"works in:  {', '.join(_hosts(name))} (loop: one of your own)")
    line(f"changes:   {', '.join(about.writes) or 'nothing'}")
    line(f"needs:     {', '.join(about.needs) or 'nothing beyond log-probability and entropy'}")
    line(f"state:     {about.state}")
    line(f"code:      {about.file}")
    line("options:")
    for each in about.settings:
        default = f" = {each.default}" if each.default else ""
        line(f"  {each.name}{default}" + (f": {each.meaning}" if each.meaning else ""))
    for heading, lines in (("how ours differs:", about.source.deviations), ("to know:", about.notes)):
        if lines:
            line(heading)
            for text in lines:
                line(f"  - {text}")
