"""Ensembles: named, versioned families of random cases. A case id alone rebuilds its case, under any JAX."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from chainback.errors import UsageError
from chainback.problems import families
from chainback.problems.case_id import BatchIds, CaseId
from chainback.problems.chain import Case
from chainback.problems.random_streams import RandomStreams

__all__ = ["ENSEMBLES", "Ensemble", "draw", "draw_unpadded", "ensemble", "rebuild"]

#: A batch of more weights than this does not fit the memory of the machines that this is meant for.
_MOST_NUMBERS = 100_000_000
Family = Callable[[RandomStreams, int, int], Case]


@dataclass(frozen=True)
class Ensemble:
    """A named, versioned family of random cases.

    Attributes:
        name: How commands and ids call it.
        version: Raised whenever the same id would give another case.
        summary: What it is for, in a line.
        family: Maps (random streams, depth, width) to a batch of cases that deep.
        deep: Whether it is meant for thousands of layers.
        wide: Whether it is meant for widths above 1.
    """

    name: str
    version: int
    summary: str
    family: Family
    deep: bool = False
    wide: bool = False


ENSEMBLES: dict[str, Ensemble] = {
    e.name: e
    for e in (
        Ensemble("lecture", 1, "the lecture's: N(0, 1) parameters, sigmoid hidden, identity output", families.lecture),
        Ensemble("mixed", 1, "another activation every layer, weights small to large", families.mixed),
        Ensemble("alive", 1, "couplings near ±1: gradients that survive depth", families.alive),
        Ensemble("saturated", 1, "arguments of ±10 to ±100", families.saturated),
        Ensemble("kinks", 1, "piecewise linear, arguments at a kink or an ulp beside it", families.kinks),
        Ensemble("tiny", 1, "parameters down to 2^-60: underflow", families.tiny),
        Ensemble("huge", 1, "parameters up to 2^40: overflow in some order", families.huge),
        Ensemble("special", 1, "zeros of both signs, ones, neighbours of one, powers of two", families.special),
        Ensemble("wide", 1, "widths above 1, every activation", families.wide, wide=True),
        Ensemble("deep", 2, "thousands of layers, gradients alive", families.deep, deep=True),
    )
}


def ensemble(name: str) -> Ensemble:
    """Return the ensemble of that name.

    Raises:
        UsageError: There is none.
    """
    try:
        return ENSEMBLES[name]
    except (KeyError, TypeError):
        raise UsageError(f"ensemble {name!r} is not known: use one of {', '.join(ENSEMBLES)}") from None


def draw(name: str, *, seed: int, depth: int, width: int, batch: int, rows: int) -> Case:
    """Draw a batch of cases.

    A batch has one random depth d <= `depth`, the same for its cases; the layers behind d are exact identity layers.

    Args:
        name: The ensemble.
        seed: Of the run, at least 0.
        depth: Layers of each chain, at least 1.
        width: Of every state, at least 1.
        batch: Number of the batch, at least 0.
        rows: How many cases to draw; those of a smaller draw are the first of a larger one.

    Raises:
        UsageError: No ensemble has that name, or a number is out of range.
    """
    found = ensemble(name)
    for label, value, least in (
        ("seed", seed, 0),
        ("depth", depth, 1),
        ("width", width, 1),
        ("batch", batch, 0),
        ("rows", rows, 1),
    ):
        if value < least:
            raise UsageError(f"`{label}` must be at least {least}, got {value}")
    numbers = rows * depth * width**2
    if numbers > _MOST_NUMBERS:
        raise UsageError(f"{rows} cases of {depth} layers of width {width} are too many to draw: {numbers:.1e} weights")
    key = [int.from_bytes(name.encode(), "little"), found.version, seed, depth, width, batch]
    random = RandomStreams(key, rows)
    case = found.family(random, random.depth(depth), width)
    ids = BatchIds(CaseId(name, found.version, seed, depth, width, batch, 0, rows))
    return Case(case.chain.padded(depth), case.inputs, case.targets, ids)


def draw_unpadded(name: str, *, seed: int, depth: int, width: int, rows: int, count: int = 1) -> list[Case]:
    """Return the first batches of an ensemble whose chains are random in every layer, without padding.

    Args:
        name: A key of `ENSEMBLES`.
        seed: Decides the batches.
        depth: Layers, none of them padding.
        width: Of every state.
        rows: Cases in each batch.
        count: How many batches.

    Raises:
        UsageError: No ensemble has that name, or a number is out of range.
    """
    batches = (draw(name, seed=seed, depth=depth, width=width, batch=batch, rows=rows) for batch in itertools.count())
    return list(itertools.islice((case for case in batches if not _ends_in_padding(case)), count))


def _ends_in_padding(case: Case) -> bool:
    weights, biases = case.chain.weights[:, -1], case.chain.biases[:, -1]
    last = case.chain.activations[-1] == "identity" and not biases.any()
    return case.chain.depth > 1 and last and bool((weights == np.eye(case.chain.width)).all())


def rebuild(case_id: str | CaseId) -> Case:
    """Return the case that an id names.

    Raises:
        UsageError: The text is no id, its ensemble is unknown, or is at another version here.
    """
    parsed = CaseId.parse(case_id) if isinstance(case_id, str) else case_id
    found = ensemble(parsed.ensemble)
    if found.version != parsed.version:
        raise UsageError(
            f"case id {parsed} is of version {parsed.version} of ensemble {found.name}, which is at {found.version} "
            "here: rebuild it with the chainback that wrote it"
        )
    case = draw(
        parsed.ensemble,
        seed=parsed.seed,
        depth=parsed.depth,
        width=parsed.width,
        batch=parsed.batch,
        rows=parsed.row + 1,
    )[parsed.row]
    return replace(case, ids=(str(parsed),))
