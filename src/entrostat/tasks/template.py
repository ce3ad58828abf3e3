"""How a question is put to a policy, and what follows it in a worked example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from entrostat.errors import ConfigError


@dataclass(frozen=True)
class Template:
    """A text with `{question}`, and one with `{answer}` that comes after it where the answer is shown."""

    question: str = "{question}"
    answer: str = " {answer}\n\n"

    def prompt(self, question: str, examples: Iterable[tuple[str, str]] = ()) -> str:
        """The question after worked examples, each a question and its answer."""
        shown = [self.prompt(asked) + self.answer.replace("{answer}", answered) for asked, answered in examples]
        return "".join(shown) + self.question.replace("{question}", question)


TEMPLATES = {
    "plain": Template("Question: {question}\nAnswer:"),
    "chatml": Template("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", "{answer}<|im_end|>\n"),
}


def as_template(name: str) -> Template:
    """The template of that name, or with that text for its question; `ConfigError` where that has no `{question}`."""
    template = TEMPLATES.get(name, Template(name))
    if "{question}" not in template.question:
        raise ConfigError(f"template is {name!r}; use {' or '.join(TEMPLATES)}, or a text with {{question}}")
    return template
