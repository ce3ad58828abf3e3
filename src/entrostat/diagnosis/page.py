"""The register as a page: `python -m entrostat.diagnosis.page > docs/troubleshooting.md`."""

from __future__ import annotations

from entrostat.diagnosis.advice import ADVICE
from entrostat.diagnosis.findings import REGISTER

_INTRODUCTION = """# Troubleshooting

Find what you see; the code leads to what it means and what to do. `entrostat diagnose LOG` finds it for you
([how](diagnose.md)). This page is made from the register of findings.

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
            f"*{entry.severity.capitalize()}.* {entry.meaning}",
        ]
        lines += ["", f"{advice['any']}."]
        settings = [f"* {name}: {advice[key]}" for key, name in (("trl", "TRL"), ("verl", "verl")) if key in advice]
        lines += ["", *settings] if settings else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
