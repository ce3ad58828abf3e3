"""Less noise: what the hosts print that a user of a run cannot act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# transformers renames a setting that TRL still gives under its old name.
RENAMED = (r"`gradient_checkpointing` is deprecated", r"`is_gradient_checkpointing` is deprecated")


@contextmanager
def quiet() -> Iterator[None]:
    """While inside, the hosts' progress bars and their remarks below errors are silent; our own warnings are not."""
    import datasets
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            for message in RENAMED:
                warnings.filterwarnings("ignore", message, FutureWarning)
            yield
    finally:
        hf_logging.set_verbosity(level)
        hf_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()
