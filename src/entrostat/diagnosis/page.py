"""The register as a page: `python -m entrostat.diagnosis.page > docs/troubleshooting.md`."""

from __future__ import annotations

from textwrap import fill

from entrostat.diagnosis.advice import ADVICE
from entrostat.diagnosis.findings import REGISTER

_INTRODUCTION = """# Troubleshooting

This page leads from what you see in a run, such as a flat reward or a collapsed entropy, to what it means and which settings of
TRL or verl to change. It works for any GRPO-like run, with or without Entrostat.

`entrostat diagnose` reads your log and says which of these faults it has ([how](diagnose.md)):

```bash
entrostat diagnose trainer_state.json
```

Every fault has a code and a severity: *severe* (the run is lost, or its numbers are wrong), *warning* (look at it) or *remark*
(good to know). In the settings below, `es.` is `import entrostat as es`.

* The *entropy* is that of the next token, averaged over the tokens of a batch.
* The *controller* is the part of Entrostat that compares the entropy with its target. Its *output* is the number that pushes the
  entropy, for instance the coefficient of an entropy bonus; `entropy_control/output` logs it, and `saturated` is 1 or -1 while it
  is at a limit.
* A *group* is the completions of one prompt. If all its rewards are equal, its advantages are 0.

## What you see
"""
_PARTS = {"1": "The entropy", "2": "The controller", "3": "The training", "4": "The measurement"}


def page() -> str:
    """Symptoms first, then each code with its meaning and the settings to change."""
    lines = [_INTRODUCTION, "| you see | code |", "| --- | --- |"]
    lines += [f"| {entry.symptom} | [{code} {entry.title}](#{code.lower()}) |" for code, entry in REGISTER.items()]
    part = ""
    for code, entry in REGISTER.items():
        if code[1] != part:
            part = code[1]
            lines += ["", f"## {_PARTS[part]}"]
        advice = ADVICE[code]
        lines += [
            "",
            f'### <a id="{code.lower()}"></a>{code} {entry.title}',
            "",
            _wrapped(f"*{entry.severity.capitalize()}.* {entry.meaning}"),
        ]
        lines += ["", _wrapped(f"**What to do.** {advice['any']}.")]
        settings = [
            _wrapped(f"* {name}: {advice[key]}", "  ")
            for key, name in (("trl", "TRL"), ("verl", "verl"))
            if key in advice
        ]
        lines += ["", *settings] if settings else []
    return "\n".join(lines) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, 130, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    print(page(), end="")
