"""Any data set of reasoning-gym as a task, scored by the library's own scorer.

    load_task("rg:chain_sum", shots=4, temperature=0.7, max_terms=3)

Small models follow a format they are shown, so the prompt can begin with worked examples. With the `plain` template a
model may go on after its answer with idle text, which counts in the entropy; in a chat format it ends.

Choose template and temperature with the model. SmolLM2-135M on sums of two or three terms, four examples, 16 problems
with 4 samples each (mean score, which gives partial credit; a rough guide, not a result):

| template | temperature 1.0 | temperature 0.7 |
| --- | --- | --- |
| `plain` | 1.41 nats, 0.13 | 0.32 nats, 0.13 |
| `chatml` | 2.06 nats, 0.04 | 1.25 nats, 0.01 |
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any

from entrostat.errors import ConfigError, DataError, NotInstalled
from entrostat.tasks.base import Problem, Scored, Split, check_request, in_eval
from entrostat.tasks.programs import entries
from entrostat.tasks.scoring import Limits, Pool
from entrostat.tasks.template import as_template

_CHUNK = 256  # problems generated at a time; a problem is known by its chunk and its index in it
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


# Their scorers hand the completion to `eval`, or to sympy's parser, which does; `composite` has the scorers of others. A test
# looks for more.
EVALUATED = frozenset(
    {
        "binary_matrix",
        "composite",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)

# It makes a problem by running a program of its collection: some of these write files, print, or break off (`programs`).
RUNS_PROGRAMS = frozenset({"codeio"})


class ReasoningGym:
    """The reasoning-gym data set `dataset`, with its own configuration keys in `config`.

    `template` is `plain`, `chatml` (SmolLM2, Qwen) or a text with `{question}`; `shots` worked examples precede it, the
    same for all problems, taken from the train split and kept out of the problems. A stable hash of the question decides
    the split, so the splits are disjoint for all seeds. `Problem.meta` holds where in the generated stream the problem
    stands, so that the scorer gets the very entry. Scoring happens in processes of its own; `run_answers` allows the data sets
    whose scorers run the completion (`EVALUATED`), each answer in a process without privileges.

    Raises `ConfigError` for an unknown data set (with close matches), a wrong key or value in `config`, or a template
    without `{question}`; `NotInstalled` when reasoning-gym is absent.
    """

    def __init__(
        self,
        dataset: str,
        *,
        shots: int = 0,
        template: str = "plain",
        max_completion_tokens: int = 64,
        temperature: float = 1.0,
        eval_share: float = 0.2,
        run_answers: bool = False,
        **config: Any,
    ) -> None:
        if dataset in EVALUATED and not run_answers:
            raise ConfigError(
                f"reasoning-gym scores {dataset!r} by running the completion as Python code, which a policy can turn into any "
                "command. Choose another data set, or set task.run_answers=true: each answer is then run in a process without "
                "privileges, files, network and commands"
            )
        self.template = as_template(template)
        if shots < 0:
            raise ConfigError(f"shots is {shots}; use zero or more worked examples")
        if not 0 < eval_share < 1:
            raise ConfigError(f"eval_share is {eval_share}; choose a share between 0 and 1")
        self.name = f"rg:{dataset}"
        self.max_completion_tokens = max_completion_tokens
        self.temperature = temperature
        self._dataset, self._config = dataset, config
        self._eval_share = eval_share
        self._chunk = lru_cache(maxsize=64)(self._generate)
        self.examples: list[Problem] = []
        self._source(0)  # a wrong name or key fails here rather than in the middle of a run
        self._limits = Limits(alone=dataset in EVALUATED)
        self.examples = self.problems("train", shots, seed=0) if shots else []

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` problems of a split; repeats only when the data set runs out of new ones.

        Raises `DataError` when the data set generates none for that split.
        """
        check_request(split, count)
        taken = {example.question for example in self.examples}
        shown = [(example.question, example.answer) for example in self.examples]
        seen, fruitless, first = set(taken), 0, _stream(seed)
        drawn: list[Problem] = []
        while len(drawn) < count:
            before = len(drawn)
            for index, entry in enumerate(self._chunk(first)):
                if entry is None:
                    continue
                question = str(entry["question"])
                if question in seen or in_eval(question, self._eval_share) != (split == "eval"):
                    continue
                seen.add(question)
                meta = {"chunk": first, "index": index}
                drawn.append(Problem(self.template.prompt(question, shown), str(entry["answer"]), meta, question))
            first += _CHUNK
            fruitless = fruitless + 1 if len(drawn) == before else 0
            if fruitless == 4:  # a small data set is used up: begin again
                if len(seen) == len(taken):
                    raise DataError(
                        f"{self.name} generates no problem for the {split!r} split; change its configuration"
                    )
                seen, fruitless = set(taken), 0
        return drawn[:count]

    def score(self, problem: Problem, completion: str) -> float:
        """The library's score of the completion's answer: the text in `<answer>` tags, else all before a blank line."""
        return self.score_all([problem], [completion]).values[0]

    def score_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
        """As `score`, in processes of their own: the library's scorers parse, and some run, what the policy writes."""
        items = [(self._entry(each), _answer(text)) for each, text in zip(problems, completions, strict=True)]
        return self._pool.scores(items) if items else Scored([], {})

    @cached_property
    def _pool(self) -> Pool:
        entry = next(entry for entry in self._chunk(0) if entry is not None)
        options = {"dataset": self._dataset, "config": self._config}
        return Pool("entrostat.tasks.reasoning_gym:scorer", options, (entry, str(entry["answer"])), self._limits)

    def _entry(self, problem: Problem) -> dict[str, Any]:
        entry: dict[str, Any] = self._chunk(problem.meta["chunk"])[problem.meta["index"]]
        return entry

    def _generate(self, first: int) -> list[dict[str, Any] | None]:
        """A chunk of problems; None in the place of one whose program broke off or took too long."""
        if self._dataset in RUNS_PROGRAMS:
            options = {"dataset": self._dataset, "seed": first, "config": self._config}
            return entries(f"{__name__}:created", options, _CHUNK)
        dataset = self._source(first)
        return [dataset[index] for index in range(_CHUNK)]

    def _source(self, seed: int) -> Any:
        return created(self._dataset, seed, self._config)


def scorer(dataset: str, config: dict[str, Any]) -> Callable[[dict[str, Any], str], float]:
    """What the scoring processes run: the library's own score of an answer to an entry."""
    source = created(dataset, 0, config)
    return lambda entry, answer: float(source.score_answer(answer, entry))


def created(dataset: str, seed: int, config: dict[str, Any]) -> Any:
    """The library's data set, of which entry i depends on `seed` + i alone."""
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise NotInstalled(
            f"rg:{dataset} needs reasoning-gym; install it with `pip install entrostat[train]`"
        ) from error
    if dataset not in DATASETS:
        close = difflib.get_close_matches(dataset, DATASETS, n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"{len(DATASETS)} exist, such as chain_sum"
        raise ConfigError(f"reasoning-gym has no data set {dataset!r}; {hint}")
    try:
        return reasoning_gym.create_dataset(dataset, size=_CHUNK, seed=seed, **config)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"reasoning-gym refuses {config} for {dataset!r}: {error}") from error


def _answer(completion: str) -> str:
    tagged = _ANSWER_TAG.search(completion)
    return (tagged[1] if tagged else completion.strip().split("\n\n")[0]).strip()


def _stream(seed: int) -> int:
    """Where the stream of a seed begins: far apart, since entry i depends on seed + i only."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big") // 4
