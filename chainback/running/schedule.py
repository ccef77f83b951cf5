"""What a run consists of: ensembles × shapes in batches, the cases that are run one by one, and a shard's part of them.

Shorter chains of a batch are padded by exact identity layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from chainback.problems.case_id import CaseId
from chainback.problems.ensembles import Ensemble, ensemble, rebuild
from chainback.reporting.shards import part_of
from chainback.running.request import Request
from chainback.running.shapes import MOST_LAYERS_ONE_BY_ONE, apportion, batch_sizes, sample_shape, shapes_of

__all__ = ["Plan", "PlannedBatch", "Schedule", "plan", "schedule_of"]

T = TypeVar("T")


class PlannedBatch(NamedTuple):
    """One batch of a run, before its cases are drawn.

    Attributes:
        ensemble: Name of the ensemble.
        depth: Layers of each chain, padding included.
        width: Of every state.
        number: Of the batch within its ensemble and shape.
        rows: Cases drawn and run together.
        judged: How many of them count, from the first.
    """

    ensemble: str
    depth: int
    width: int
    number: int
    rows: int
    judged: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a program is compiled for: depth, width, rows."""
        return self.depth, self.width, self.rows


@dataclass(frozen=True)
class Plan:
    """The batches of a run, ensembles and shapes interleaved so that an interrupted run has seen all of them.

    They are made as they are needed: a run of 10⁹ cases has a million of them.

    Attributes:
        parts: For each ensemble and shape its first batch, with the number of cases in all of them as `judged`.
    """

    parts: tuple[PlannedBatch, ...]

    def __len__(self) -> int:
        return sum(-(-part.judged // part.rows) for part in self.parts)

    def __iter__(self) -> Iterator[PlannedBatch]:
        for number in itertools.count():
            left = [part for part in self.parts if number * part.rows < part.judged]
            if not left:
                return
            for part in left:
                yield part._replace(number=number, judged=min(part.rows, part.judged - number * part.rows))


def plan(
    ensembles: Sequence[Ensemble],
    *,
    cases: int,
    seed: int,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
) -> Plan:
    """Return the batches of a run.

    Args:
        ensembles: The ensembles.
        cases: How many cases in all; exactly so many are judged.
        seed: Picks the shapes, and the cases.
        depths: Depths to use, for every ensemble; default: each ensemble's own.
        widths: Likewise.
    """
    parts = [(family, shape) for family in ensembles for shape in shapes_of(family, cases, seed, depths, widths)]
    counts = apportion(cases, [shape.share for _, shape in parts])
    rows = batch_sizes([shape for _, shape in parts], counts, seed)
    return Plan(
        tuple(
            PlannedBatch(family.name, shape.depth, shape.width, 0, rows[shape.depth, shape.width], count)
            for (family, shape), count in zip(parts, counts, strict=True)
            if count
        )
    )


@dataclass(frozen=True)
class Schedule:
    """What a request runs, as a whole, and the part of it that is this run's shard.

    Attributes:
        families: The ensembles.
        batches: Of all shards.
        samples: The cases to run one by one, as batches of one, each with its execution: "single" or "eager".
        shard: (K, M): this run takes the K-th of M parts.
    """

    families: Sequence[Ensemble] = ()
    batches: Plan | Sequence[PlannedBatch] = ()
    samples: Sequence[tuple[PlannedBatch, str]] = ()
    shard: tuple[int, int] = (1, 1)

    def mine(self, first: int = 0) -> Iterator[tuple[int, PlannedBatch]]:
        """Yield the batches of this shard, from one on, each with its place in the whole."""
        k, m = self.shard
        return itertools.islice(enumerate(self.batches), k - 1 + first * m, None, m)

    def tasks(self, of_all: Sequence[T]) -> list[tuple[int, T]]:
        """Return what this shard runs one by one, each with its place in the whole: behind the batches."""
        k, m = self.shard
        placed = enumerate(of_all, start=len(self.batches))
        return [(place, task) for place, task in placed if place % m == k - 1]

    @property
    def parts(self) -> Sequence[PlannedBatch]:
        """One batch of each ensemble and shape, with all of its cases."""
        return self.batches.parts if isinstance(self.batches, Plan) else self.batches

    @property
    def cases(self) -> int:
        """How many cases there are in this shard."""
        of = self.parts if self.shard == (1, 1) else (batch for _, batch in self.mine())
        return sum(batch.judged for batch in of)

    def shapes(self, first: int) -> list[tuple[int, int, int]]:
        """Return the shapes of this shard, from one batch on, in the order in which they are met."""
        every, met = {batch.shape for batch in self.parts}, {}
        for _, batch in self.mine(first):
            met.setdefault(batch.shape)
            if len(met) == len(every):  # a run of 10⁹ cases need not be looked through
                break
        return list(met)

    def left_out(self, depths: Sequence[int] | None) -> str:
        """Say which of the request's ensembles and depths no batch takes."""
        seen = {batch.ensemble for batch in self.parts}
        without = [family.name for family in self.families if family.name not in seen]
        parts = [f"too few cases for the ensembles {', '.join(without)}"] if without else []
        missing = sorted(set(depths or ()) - {batch.depth for batch in self.parts})
        if missing:
            some = ", ".join(map(str, missing[:12])) + (", …" if len(missing) > 12 else "")
            parts.append(f"of the depths asked for, {some} were only met as shorter chains padded to another one")
        return "; ".join(parts)


def schedule_of(request: Request) -> Schedule:
    """Return what a request runs on its engines."""
    shard = part_of(request.shard)
    if request.case is not None:
        return _one_case(CaseId.parse(request.case), shard)
    families = request.families
    batches = plan(families, cases=request.most_cases, seed=request.seed, depths=request.depths, widths=request.widths)
    samples = []
    for family, execution in _sampled(families, request.seed) if request.samples else ():
        shape = sample_shape(family, request.seed, request.depths, request.widths)
        if shape is not None:
            samples.append((PlannedBatch(family.name, *shape, 0, 1, 1), execution))
    return Schedule(families, batches, samples, shard)


def _one_case(case: CaseId, shard: tuple[int, int]) -> Schedule:
    """Return a case in its batch, and alone where it is not too deep for that."""
    rebuild(case)
    rows = max(case.rows or 1, case.row + 1)
    batch = PlannedBatch(case.ensemble, case.depth, case.width, case.batch, rows, 1)
    alone = [(batch._replace(rows=1), execution) for execution in ("single", "eager")]
    samples = alone if case.depth <= MOST_LAYERS_ONE_BY_ONE else []
    return Schedule([ensemble(case.ensemble)], [batch], samples, shard)


def _sampled(families: Sequence[Ensemble], seed: int) -> list[tuple[Ensemble, str]]:
    """Return two ensembles to run jitted one by one and two to run un-jitted; other seeds take others."""
    turned = [families[(place + 2 * seed) % len(families)] for place in range(min(4, len(families)))]
    if len(turned) == 1:
        return [(turned[0], "single"), (turned[0], "eager")]
    return [(family, "single" if place % 2 else "eager") for place, family in enumerate(turned)]
