"""What an optimizer step has added up so far on this rank, and its sum over all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entrostat.methods.chain import Chain, Sums
from entrostat.methods.scopes import thresholds
from entrostat.stats.clusters import rows_of, sums_of_clusters
from entrostat.stats.summarize import sum_dtype, summary_names
from entrostat.types import Summary, TokenBatch, Totals


class Pending:
    """The sums of one optimizer step while its micro-batches come in.

    The vector that the ranks add up has one place for each standard sum and for each that a link's card declares. It is
    laid out by the method alone, so a rank without a micro-batch adds zeros to the same places.
    """

    def __init__(self, method: Chain) -> None:
        self.names = summary_names(method.requires)
        # The chain's own sums come after those of its links.
        self.declared = method.sums
        self.tops = tuple(link.record.tops for link in method.links)
        self._sums: dict[tuple[int, str], Tensor] = {}
        self._pools: dict[tuple[int, str], list[Tensor]] = {}
        self._rows: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def add(self, standard: Summary, links: Sums, batch: TokenBatch | None = None) -> None:
        """Add a micro-batch; with `batch`, prompts that are cut between micro-batches are clusters as a whole."""
        if batch is not None and batch.stats.entropy is not None:
            tokens, entropy = rows_of(batch.stats.entropy, batch.measured, sum_dtype(batch.mask.device))
            self._rows.append((tokens, entropy, batch.groups_B))
        for name in self.names:
            if name in standard.values:
                self._add((-1, name), torch.as_tensor(standard.values[name]))
        for index, own in enumerate(links):
            for name, value in own.items():
                if index < len(self.tops) and name in self.tops[index]:
                    self._pools.setdefault((index, name), []).append(value.detach().flatten())
                else:
                    self._add((index, name), value.detach())

    def _add(self, key: tuple[int, str], value: Tensor) -> None:
        self._sums[key] = self._sums[key] + value if key in self._sums else value

    def vector(self) -> Tensor:
        """The sums in their places."""
        sums = dict(self._sums)
        groups = [of for *_, of in self._rows if of is not None]
        if len(self._rows) == len(groups) > 1:  # prompts that were cut are counted anew, as a whole
            tokens, entropy = torch.cat([row[0] for row in self._rows]), torch.cat([row[1] for row in self._rows])
            found = sums_of_clusters(tokens, entropy, torch.cat(groups))
            sums |= {(-1, name): value for name, value in found.items()}
        places = [(-1, name) for name in self.names]
        places += [(index, name) for index, names in enumerate(self.declared) for name in names]
        like = next(iter(sums.values()), torch.zeros((), dtype=torch.float64))
        zero = torch.zeros((), dtype=like.dtype, device=like.device)
        return torch.stack([sums.get(place, zero).to(like) for place in places])

    def totals(self, all_reduce: Callable[[Tensor], Tensor] | None = None) -> Totals:
        """The sums over all ranks, and the thresholds of the pools.

        Args:
            all_reduce: takes a vector and returns its sum over ranks; None on a single process.
        """
        vector = self.vector()
        values = (vector if all_reduce is None else all_reduce(vector)).tolist()
        standard = Summary(dict(zip(self.names, values, strict=False)))
        rest, links = values[len(self.names) :], []
        for names in self.declared:
            links.append(dict(zip(names, rest, strict=False)))
            rest = rest[len(names) :]
        if any(self.tops):
            empty = torch.zeros(0, device=vector.device)
            pools = {
                f"{index}/{name}": torch.cat(self._pools.get((index, name), [empty]))
                for index, tops in enumerate(self.tops)
                for name in tops
            }
            shares = {f"{i}/{name}": top for i, tops in enumerate(self.tops) for name, top in tops.items()}
            for key, value in thresholds(pools, shares, all_reduce).items():
                index, _, name = key.partition("/")
                links[int(index)][name] = value
        return Totals(standard, tuple(links))
