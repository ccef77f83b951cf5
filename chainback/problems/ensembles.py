"""Named, versioned families of random cases. A case id alone rebuilds its case, under any JAX.

A batch of cases is drawn from NumPy's PCG64, keyed by everything that its ids name; each array of it has a stream of its
own and is filled case by case, so that a case does not depend on how many others are drawn beside it. On top of NumPy's
streams, whose stability `tests/test_ensembles.py` pins by digests, numbers are made with +, −, ×, ÷, roots and powers of two
alone, which every IEEE machine rounds alike.

An id reads `lecture@1:0:8x1:3:17/128`: ensemble and version, seed, depth × width, number of the batch, row in it, and
(optionally) how many rows it was judged among.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

import numpy as np

from chainback.errors import UsageError
from chainback.operations.activations import ACTIVATIONS
from chainback.problems.chain import Case, Chain

__all__ = ["ENSEMBLES", "CaseId", "Ensemble", "draw", "draw_unpadded", "ensemble", "rebuild"]

Array = np.ndarray
#: A batch of more weights than this does not fit the memory of the machines that this is meant for.
_MOST_NUMBERS = 100_000_000
#: The activations that an ensemble may draw: the built-in ones, whatever a user registers later.
_BUILT_IN = tuple(ACTIVATIONS)
_SATURATING = ("sigmoid", "tanh", "softplus", "silu", "gelu", "elu")
_PIECEWISE = ("relu", "leaky_relu", "identity")


class CaseId(NamedTuple):
    """What a case id says."""

    ensemble: str
    version: int
    seed: int
    depth: int
    width: int
    batch: int
    row: int
    rows: int | None

    _PATTERN = re.compile(r"(\w+)@(\d+):(\d+):(\d+)x(\d+):(\d+):(\d+)(?:/(\d+))?")

    @classmethod
    def parse(cls, text: str) -> CaseId:
        """Read an id.

        Raises:
            UsageError: The text is none.
        """
        match = cls._PATTERN.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"case id {text!r} is none: one reads like lecture@1:0:8x1:3:17")
        name, *numbers = match.groups()
        version, seed, depth, width, batch, row = (int(number) for number in numbers[:6])
        rows = None if numbers[6] is None else int(numbers[6])
        if depth < 1 or width < 1 or (rows is not None and row >= rows):
            raise UsageError(f"case id {text!r} is none: its depth, width and row must be ones that a batch can have")
        return cls(name, version, seed, depth, width, batch, row, rows)

    def __str__(self) -> str:
        rows = "" if self.rows is None else f"/{self.rows}"
        return f"{self.ensemble}@{self.version}:{self.seed}:{self.depth}x{self.width}:{self.batch}:{self.row}{rows}"


@dataclass(frozen=True)
class BatchIds(Sequence[str]):
    """The ids of a whole batch, written only when one is asked for.

    Attributes:
        first: The id of row 0; its `rows` is the size of the batch.
    """

    first: CaseId

    def __len__(self) -> int:
        return self.first.rows or 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: int | slice) -> str | tuple[str, ...]:
        rows = range(len(self))[row]
        return str(self.first._replace(row=rows)) if isinstance(rows, int) else tuple(self[i] for i in rows)


class Source:
    """The random streams of one batch. Every call opens the next stream and fills its array case by case."""

    def __init__(self, key: list[int], size: int) -> None:
        self.size = size
        self._key = key
        self._streams = 0

    def _generator(self) -> np.random.Generator:
        self._streams += 1
        sequence = np.random.SeedSequence(self._key, spawn_key=(self._streams,))
        return np.random.Generator(np.random.PCG64(sequence))

    def normal(self, *shape: int) -> Array:
        """Return standard normal numbers, float32, shape (size, *shape)."""
        return self._generator().standard_normal((self.size, *shape), dtype=np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Return uniform numbers of [low, high), float32, shape (size, *shape)."""
        unit = self._generator().random((self.size, *shape), dtype=np.float32)
        return np.float32(low) + np.float32(high - low) * unit

    def integers(self, low: int, high: int, *shape: int) -> Array:
        """Return uniform integers from low to high, both included, shape (size, *shape)."""
        return self._generator().integers(low, high, (self.size, *shape), endpoint=True)

    def choice(self, options: tuple[float, ...], *shape: int) -> Array:
        """Return numbers picked from `options`, float32, shape (size, *shape)."""
        return np.asarray(options, np.float32)[self.integers(0, len(options) - 1, *shape)]

    def layers(self, options: tuple[str, ...], depth: int) -> tuple[str, ...]:
        """Return one activation a layer, the same for the whole batch."""
        picks = self._generator().integers(0, len(options) - 1, depth, endpoint=True)
        return tuple(map(options.__getitem__, picks.tolist()))

    def depth(self, most: int) -> int:
        """Return how many of `most` layers are random ones: all of them half of the time, else any number."""
        generator = self._generator()
        full, depth = generator.integers(0, 1, endpoint=True), generator.integers(1, most, endpoint=True)
        return int(most if full else depth)


Draw = Callable[[Source, int, int], Case]


@dataclass(frozen=True)
class Ensemble:
    """A family of random cases.

    Attributes:
        name: How commands and ids call it.
        version: Raised whenever the same id would give another case.
        summary: What it is for, in a line.
        draw: (source, depth, width) to a batch of `source.size` cases that deep.
        deep: Whether it is meant for thousands of layers.
        wide: Whether it is meant for widths above 1.
    """

    name: str
    version: int
    summary: str
    draw: Draw
    deep: bool = False
    wide: bool = False


def _case(weights: Array, biases: Array, names: tuple[str, ...], inputs: Array, targets: Array) -> Case:
    return Case(Chain(weights.astype(np.float32), biases.astype(np.float32), names), inputs, targets)


def _lecture(source: Source, depth: int, width: int) -> Case:
    """Standard normal parameters, sigmoid hidden layers, identity output; inputs as the lecture's grid, and beyond."""
    names = ("sigmoid",) * (depth - 1) + ("identity",)
    return _case(
        source.normal(depth, width, width),
        source.normal(depth, width),
        names,
        source.uniform(0.5, 3.0, width) * source.choice((1.0, 1.0, -2.0), 1),
        source.normal(width) * np.float32(3.0),
    )


def _mixed(source: Source, depth: int, width: int) -> Case:
    """Another activation every layer; weights from small to large, and some exact zeros."""
    scale = source.choice((0.5, 1.0, 1.5, 3.0), depth, 1, 1) / np.float32(np.sqrt(width))
    keep = source.choice((1.0,) * 15 + (0.0,), depth, width, width)
    return _case(
        source.normal(depth, width, width) * scale * keep,
        source.normal(depth, width),
        source.layers(_BUILT_IN, depth),
        source.normal(width),
        source.normal(width),
    )


#: Where each activation is held so that gradients stay alive: the argument c, h(c) and 1 / h'(c).
_OPERATING_POINTS = {
    "identity": (0.0, 0.0, 1.0),
    "sigmoid": (0.0, 0.5, 4.0),
    "tanh": (0.0, 0.0, 1.0),
    "relu": (1.0, 1.0, 1.0),
    "leaky_relu": (1.0, 1.0, 1.0),
    "elu": (1.0, 1.0, 1.0),
    "softplus": (0.0, 0.6931472, 2.0),
    "silu": (0.0, 0.0, 2.0),
    "gelu": (0.0, 0.0, 2.0),
    "sin": (0.0, 0.0, 1.0),
}


def _near_isometry(source: Source, names: tuple[str, ...], width: int, wander: float) -> Case:
    """Couplings within `wander` of signed permutations: weights ±1/h'(c) where biases hold the argument near c."""
    depth = len(names)
    kinds = {name: kind for kind, name in enumerate(dict.fromkeys(names))}
    points = np.array([_OPERATING_POINTS[name] for name in kinds], np.float32)
    centre, level, gain = points[[kinds[name] for name in names]].T
    before = np.concatenate([np.zeros(1, np.float32), level[:-1]])
    shift = source.integers(0, width - 1, depth, 1)
    columns = (np.arange(width) + shift) % width
    permutation = (columns[..., None] == np.arange(width)).astype(np.float32)
    signs = source.choice((1.0, -1.0), depth, width, 1)
    weights = permutation * signs * gain[:, None, None]
    weights = weights + source.normal(depth, width, width) * np.float32(wander / width) * gain[:, None, None]
    offset = weights.sum(axis=-1, dtype=np.float64) * before[:, None]
    biases = centre[:, None] - offset + source.normal(depth, width) * np.float32(wander)
    small = np.float32(min(0.1, 10 * wander))
    inputs = source.normal(width) * small
    return _case(weights, biases, names, inputs, inputs + centre[-1] + source.normal(width))


def _alive(source: Source, depth: int, width: int) -> Case:
    """Gradients that neither vanish nor explode with depth, through every activation."""
    return _near_isometry(source, source.layers(_BUILT_IN, depth), width, 0.02)


def _deep(source: Source, depth: int, width: int) -> Case:
    """The same at thousands of layers and more, where couplings may stray by 1 / depth only.

    Every layer adds u of its state to the spread of all states behind it, so that states must stay small where slopes
    bend: only activations that are held at 0, with no curvature there, leave a chain of 10⁶ layers decidable.
    """
    names = source.layers(("identity", "tanh", "sin"), depth)
    return _near_isometry(source, names, width, min(0.02, 4.0 / depth))


def _saturated(source: Source, depth: int, width: int) -> Case:
    """Arguments of ±10 to ±100, where exponentials underflow and slopes vanish; and hidden layers that recover."""
    scale = source.choice((1.0, 8.0, 30.0), depth, 1, 1) / np.float32(np.sqrt(width))
    return _case(
        source.normal(depth, width, width) * scale,
        source.normal(depth, width) * source.choice((1.0, 20.0), depth, 1),
        source.layers(_SATURATING, depth),
        source.normal(width) * np.float32(4.0),
        source.normal(width),
    )


def _kinks(source: Source, depth: int, width: int) -> Case:
    """Piecewise-linear chains of small dyadic numbers, whose arguments hit 0 exactly, or miss it by an ulp."""
    nudge = 1.0 + source.choice((0.0, 0.0, 0.0, 2.0**-23, -(2.0**-24)), depth, width)
    return _case(
        source.choice((1.0, -1.0, 0.5, -0.5, 2.0, 0.0), depth, width, width),
        source.choice((0.0, 1.0, -1.0, 0.5, -0.5), depth, width) * nudge.astype(np.float32),
        source.layers((*_PIECEWISE, "relu", "elu"), depth),
        source.choice((0.0, -0.0, 1.0, -1.0, 0.5, 2.0), width),
        source.choice((0.0, 1.0, -1.0, 3.0), width),
    )


def _tiny(source: Source, depth: int, width: int) -> Case:
    """Powers of two down to 2⁻⁶⁰, so that products underflow somewhere, and not elsewhere."""
    exponents = source.integers(-60, 8, depth, 1, 1)
    return _case(
        np.ldexp(source.normal(depth, width, width), exponents),
        np.ldexp(source.normal(depth, width), source.integers(-60, 0, depth, 1)),
        source.layers(_BUILT_IN, depth),
        source.normal(width),
        source.normal(width),
    )


def _huge(source: Source, depth: int, width: int) -> Case:
    """Powers of two up to 2⁴⁰, so that some orders of evaluation overflow: those cases must come out undecided."""
    exponents = source.integers(-20, 40, depth, 1, 1) * source.integers(0, 1, depth, 1, 1)
    return _case(
        np.ldexp(source.normal(depth, width, width), exponents),
        np.ldexp(source.normal(depth, width), source.integers(-4, 20, depth, 1)),
        source.layers((*_PIECEWISE, "elu", "softplus", "tanh"), depth),
        source.normal(width),
        source.normal(width),
    )


def _special(source: Source, depth: int, width: int) -> Case:
    """The values that code treats specially: ±0, ±1, one ulp beside 1, powers of two, the smallest normal number."""
    ulp = 2.0**-23
    values = (
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.0 + ulp,
        1.0 - ulp / 2,
        -1.0 - ulp,
        2.0,
        -0.5,
        2.0**-12,
        -(2.0**12),
        3.0,
        2.0**-126,
    )
    return _case(
        source.choice(values, depth, width, width),
        source.choice(values, depth, width),
        source.layers(_BUILT_IN, depth),
        source.choice(values[:-1], width),
        source.choice(values[:-1], width),
    )


def _wide(source: Source, depth: int, width: int) -> Case:
    """Dense layers with every activation, scaled so that states keep their size."""
    gain = source.choice((0.7, 1.0, 1.4), depth, 1, 1) / np.float32(np.sqrt(width))
    return _case(
        source.normal(depth, width, width) * gain,
        source.normal(depth, width) * np.float32(0.5),
        source.layers(_BUILT_IN, depth),
        source.normal(width),
        source.normal(width),
    )


ENSEMBLES: dict[str, Ensemble] = {
    e.name: e
    for e in (
        Ensemble("lecture", 1, "the lecture's: N(0, 1) parameters, sigmoid hidden, identity output", _lecture),
        Ensemble("mixed", 1, "another activation every layer, weights small to large", _mixed),
        Ensemble("alive", 1, "couplings near ±1: gradients that survive depth", _alive),
        Ensemble("saturated", 1, "arguments of ±10 to ±100", _saturated),
        Ensemble("kinks", 1, "piecewise linear, arguments at a kink or an ulp beside it", _kinks),
        Ensemble("tiny", 1, "parameters down to 2^-60: underflow", _tiny),
        Ensemble("huge", 1, "parameters up to 2^40: overflow in some order", _huge),
        Ensemble("special", 1, "zeros of both signs, ones, neighbours of one, powers of two", _special),
        Ensemble("wide", 1, "widths above 1, every activation", _wide, wide=True),
        Ensemble("deep", 2, "thousands of layers, gradients alive", _deep, deep=True),
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
    family = ensemble(name)
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
    key = [int.from_bytes(name.encode(), "little"), family.version, seed, depth, width, batch]
    source = Source(key, rows)
    case = family.draw(source, source.depth(depth), width)
    ids = BatchIds(CaseId(name, family.version, seed, depth, width, batch, 0, rows))
    return Case(case.chain.padded(depth), case.inputs, case.targets, ids)


def draw_unpadded(name: str, *, seed: int, depth: int, width: int, rows: int, count: int = 1) -> list[Case]:
    """Return the first batches of a family whose chains have as many random layers as they have layers.

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
    drawn = (draw(name, seed=seed, depth=depth, width=width, batch=batch, rows=rows) for batch in itertools.count())
    return list(itertools.islice((case for case in drawn if not _ends_in_padding(case)), count))


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
    family = ensemble(parsed.ensemble)
    if family.version != parsed.version:
        raise UsageError(
            f"case id {parsed} is of version {parsed.version} of ensemble {family.name}, which is at {family.version} "
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
