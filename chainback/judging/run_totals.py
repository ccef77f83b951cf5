"""Totals of a run: all that was counted, batch by batch, and merged with what other shards counted.

Every total is a sum, a maximum or a histogram, so that neither the order of the batches nor their distribution over
machines shows in the result: merged shards give what one run would have given.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from chainback.judging.tally import Pair, Rejection, RowKey, StepTally, Tally

__all__ = ["RunTotals"]


@dataclass
class RunTotals:
    """What a run counted.

    Attributes:
        tallies: By row of `tolerance.csv`.
        steps: By judged step and row of `steps.csv`.
        pairs: By row of `agreement.csv`.
        activations: Rows of `activations.csv`, by their place in the run, each with its row of `curves.csv` as "curve".
        functions: Likewise of `functions.csv`, several at a place.
        rejections: The first of each result that was rejected, with the place of its batch in the run.
    """

    tallies: dict[RowKey, Tally] = field(default_factory=dict)
    steps: dict[tuple[str, RowKey], StepTally] = field(default_factory=dict)
    pairs: dict[tuple[str, str, str, int, int], Pair] = field(default_factory=dict)
    activations: dict[int, dict[str, Any]] = field(default_factory=dict)
    functions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    rejections: list[tuple[int, Rejection]] = field(default_factory=list)

    def in_order(self) -> list[Rejection]:
        """Return the rejections by their place in the run."""
        return [rejection for _, rejection in sorted(self.rejections, key=lambda placed: placed[0])]

    def first_rejections(self) -> dict[tuple[str, RowKey], Rejection]:
        """Return the first rejection of each row, by the step that was judged ("" for the gradient) and the row's key."""
        first: dict[tuple[str, RowKey], Rejection] = {}
        for rejection in self.in_order():
            first.setdefault((rejection.step, rejection.key), rejection)
        return first

    def merge(self, other: RunTotals) -> None:
        """Add what was counted of other cases of the same run."""
        _merge(self.tallies, other.tallies)
        _merge(self.steps, other.steps)
        _merge(self.pairs, other.pairs)
        self.activations |= other.activations
        self.functions |= other.functions
        self.rejections += other.rejections

    def to_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "tallies": [tally.to_json() for tally in self.tallies.values()],
            "steps": [tally.to_json() for tally in self.steps.values()],
            "pairs": [pair.to_json() for pair in self.pairs.values()],
            "activations": list(self.activations.items()),
            "functions": list(self.functions.items()),
            "rejections": [[place, asdict(rejection)] for place, rejection in self.rejections],
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> RunTotals:
        """Return what `to_json` wrote."""
        tallies = [Tally.from_json(item) for item in state["tallies"]]
        steps = [StepTally.from_json(item) for item in state["steps"]]
        pairs = [Pair(**item) for item in state["pairs"]]
        return cls(
            {tally.key: tally for tally in tallies},
            {(tally.judged, tally.key): tally for tally in steps},
            {pair.key: pair for pair in pairs},
            {int(place): row for place, row in state["activations"]},
            {int(place): rows for place, rows in state["functions"]},
            [(place, Rejection(**item)) for place, item in state["rejections"]],
        )


def _merge(mine: dict[Any, Any], others: dict[Any, Any]) -> None:
    for key, counted in others.items():
        if key in mine:
            mine[key].merge(counted)
        else:
            mine[key] = counted
