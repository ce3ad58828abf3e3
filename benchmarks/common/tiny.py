"""What the studies of self-tuned control share: how the tiny policy is trained, what is asked, and how it is judged."""

# A batch's entropy has noise of its own, and less than 3 % of the lowest target is asked for. Most of it lies between prompts:
# at half the initial entropy 128 prompts x 8 completions have 2.9 %, 192 x 4 2.4 %, 384 x 2 1.8 %.
TINY = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    "trainer.learning_rate=1e-4",
    "trainer.per_device_train_batch_size=768",
    "trainer.num_generations=2",
    "trainer.save_steps=1000",
)
SETTLING = 25
"""Optimizer steps that are asked for, everywhere."""
WINDOW = 9
"""Steps over which the error is smoothed before it is judged."""
GOOD = 0.03
"""Of the target: an error as small as this counts as settled."""


def self_tuned(method: str, share: float, more: str = "") -> str:
    """The override for a method whose controller is given a share of the initial entropy and the settling time."""
    settings = f"target: {share} * initial, settling: {SETTLING}{more}"
    return f"method={{name: {method}, controller: {{self_tuning: {{{settings}}}}}}}"


def held(share: float) -> str:
    """The override for `hold`, whose controller is self-tuning by itself."""
    return f"method={{name: hold, target: {share} * initial, settling: {SETTLING}}}"


def rms(values: list[float]) -> float:
    """Root mean square."""
    return float((sum(value * value for value in values) / len(values)) ** 0.5)
