"""What a primitive is: its value, its linear maps, and how it may round. The kind of a primitive does the work.

`TABLE` holds one record a primitive, by its name in a jaxpr. A record is of a *kind*, and the kind says how a value, its
partial derivatives and its local error come of the few functions that the record brings:

* `Zero`: results that have no derivative: comparisons, integers, bits, random numbers;
* `Elementwise`: one number of each operand makes one of the result;
* `Structural`: components are moved, none is computed; the map is a selection;
* `Linear`: linear in its one float operand, with constant coefficients: sums, cumulative sums;
* `Product`: bilinear in two operands: dot_general, convolution;
* `Picked`: a reduction that picks one of its operands: max, min, sort.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from chainback.operations.primitives.maps import Map, elementwise, sum_to

__all__ = [
    "TABLE",
    "Call",
    "Edge",
    "Elementwise",
    "Errors",
    "Linear",
    "Picked",
    "Precision",
    "Primitive",
    "Product",
    "Structural",
    "Zero",
    "is_float",
    "register",
]

Array = np.ndarray
#: Unit roundoff u, smallest normal number η and largest number of each dtype in which a program may run.
_FORMATS = {
    "float64": (2.0**-53, 2.0**-1022, 1.7976931348623157e308),
    "float32": (2.0**-24, 2.0**-126, 3.4028234663852886e38),
    "bfloat16": (2.0**-8, 2.0**-126, 3.3895313892515355e38),
    "float16": (2.0**-11, 2.0**-14, 65504.0),
}


def is_float(dtype: Any) -> bool:
    """Whether a dtype's numbers have derivatives."""
    return str(dtype) in _FORMATS


class Call(NamedTuple):
    """One application of a primitive.

    Attributes:
        inputs: Its operands; floats as float64, whatever the program's dtype.
        params: As the jaxpr has them.
        ins: Shape and dtype of each operand, as the program has them.
        outs: Shape and dtype of each result.
    """

    inputs: tuple[Array, ...]
    params: dict[str, Any]
    ins: tuple[tuple[tuple[int, ...], str], ...]
    outs: tuple[tuple[tuple[int, ...], str], ...]


class Edge(NamedTuple):
    """A block of L: how one result depends on one operand.

    Attributes:
        operand: Which.
        result: Which.
        map: The linear map.
        c: Its coefficients at the operands' values; None where they are all 1.
    """

    operand: int
    result: int
    map: Map
    c: Array | None


class Precision(NamedTuple):
    """The arithmetic in which a program runs: as each equation's dtypes say, or everything in float64.

    Attributes:
        everywhere: The dtype of every float, or "" for the program's own.
        product: What a factor of a matrix product loses besides u (TF32, bfloat16).
    """

    everywhere: str = ""
    product: float = 0.0

    def u(self, dtype: str) -> float:
        """The unit roundoff."""
        return _FORMATS[self.everywhere or dtype][0]

    def tiny(self, dtype: str) -> float:
        """The smallest normal number: what an operation that underflows may lose."""
        return _FORMATS[self.everywhere or dtype][1]

    def largest(self, dtype: str) -> float:
        """The largest finite number."""
        return _FORMATS[self.everywhere or dtype][2]


class Errors(NamedTuple):
    """How far the results and the coefficients of a call may lie from the truth.

    Attributes:
        results: For a float result a bound of its error; for another whether it may be another value.
        coefficients: For each edge a bound of the error of c; None where c is exact.
        reason: Why nothing can be decided behind this call, or "".
    """

    results: list[Array]
    coefficients: list[Array | None]
    reason: str = ""


def gamma(n: float, u: float) -> float:
    """N u / (1 − n u)."""
    return n * u / (1.0 - n * u) if n * u < 1.0 else float("inf")


@dataclass(frozen=True)
class Primitive:
    """A primitive by its name in a jaxpr.

    Attributes:
        name: The name.
        since: The first version of JAX that has it, where that is later than 0.4.30.
    """

    name: str
    since: str = field(default="", kw_only=True)

    @property
    def picks(self) -> bool:
        """Whether it chooses between candidates, so that its partial derivatives jump."""
        return False

    @property
    def kind(self) -> str:
        """In a word."""
        return type(self).__name__.lower()

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        raise NotImplementedError

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the blocks of L."""
        return []

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return how far results and coefficients may lie from the truth, given how far the operands may."""
        raise NotImplementedError


#: One record a primitive.
TABLE: dict[str, Primitive] = {}


def register(*primitives: Primitive) -> None:
    """Add records to the table; a name has one."""
    for primitive in primitives:
        if primitive.name in TABLE:
            raise ValueError(f"primitive {primitive.name!r} has a record already")
        TABLE[primitive.name] = primitive


def _carried(
    edges: Sequence[Edge], results: Sequence[Array], E: Sequence[Array], E_c: Sequence[Array | None]
) -> list[Array]:
    """Return Σ push(|c| + E_c, E) for each result: what the operands' errors make of the result."""
    found = [np.zeros(np.shape(result)) for result in results]
    for edge, uncertain in zip(edges, E_c, strict=True):
        size = None if edge.c is None else np.abs(edge.c)
        if uncertain is not None:
            size = uncertain if size is None else size + uncertain
        if np.any(E[edge.operand]):
            found[edge.result] = found[edge.result] + edge.map.push(size, E[edge.operand])
    return found


def _any(E: Sequence[Array]) -> bool:
    return any(bool(np.any(e)) for e in E)


@dataclass(frozen=True)
class Zero(Primitive):
    """Results without a derivative.

    Attributes:
        value: (inputs, call) ↦ the result, or results.
        uncertain: (inputs, E, call) ↦ where another value is possible; default: everywhere, if an operand is uncertain.
    """

    value: Callable[..., Any] = field(kw_only=True)
    uncertain: Callable[..., Any] | None = field(default=None, kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        found = self.value(call)
        found = list(found) if isinstance(found, list | tuple) else [found]
        return [np.asarray(v, np.float64 if is_float(d) else None) for v, (_, d) in zip(found, call.outs, strict=True)]

    def errors(self, call, results, edges, E, how) -> Errors:
        if self.uncertain is not None:
            found = self.uncertain(call, E)
            return Errors([np.broadcast_to(found, np.shape(r)) for r in results], [])
        if not _any(E):
            return Errors([np.zeros(np.shape(r), bool) for r in results], [])
        same = all(np.shape(e) in ((), np.shape(results[0])) for e in E)
        found = np.zeros((), bool)
        for e in E:
            found = found | (np.asarray(e) != 0)
        if not same:
            found = np.asarray(True)
        return Errors([np.broadcast_to(found, np.shape(r)) for r in results], [])


@dataclass(frozen=True)
class Elementwise(Primitive):
    """y = f(x, …), number by number, with broadcasting of scalars.

    Attributes:
        value: (*inputs, *params) ↦ y.
        partials: (*inputs, y, *params) ↦ the partial derivative with respect to each float operand.
        takes: Names of the parameters that the two take.
        rounds: How many u an implementation may lose of `size`.
        size: (*inputs, y, *params) ↦ the magnitude of the terms that cancel in the value; default |y|.
        slope_rounds: How many u JAX's derivative rule may lose of `slope_size`.
        slope_size: (*inputs, y, *partials) ↦ likewise for each partial; default: its magnitude.
        jumps: Whether the partial derivatives jump somewhere: either one-sided value is right there.
    """

    value: Callable[..., Array] = field(kw_only=True)
    partials: Callable[..., tuple[Array, ...]] = field(kw_only=True)
    takes: tuple[str, ...] = field(default=(), kw_only=True)
    rounds: float = field(default=1.0, kw_only=True)
    size: Callable[..., Array] | None = field(default=None, kw_only=True)
    slope_rounds: float = field(default=4.0, kw_only=True)
    slope_size: Callable[..., tuple[Array, ...]] | None = field(default=None, kw_only=True)
    jumps: bool = field(default=False, kw_only=True)

    @property
    def picks(self) -> bool:
        """Whether its partial derivatives jump somewhere."""
        return self.jumps

    def _params(self, call: Call) -> list[Any]:
        return [call.params[name] for name in self.takes]

    def evaluate(self, call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            found = np.asarray(self.value(*call.inputs, *self._params(call)))
        shape, dtype = call.outs[0]
        return [np.broadcast_to(found if is_float(dtype) else found.astype(dtype), shape)]

    def _at(self, call: Call, inputs: Sequence[Array], y: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return tuple(
                np.broadcast_to(np.asarray(c, np.float64), call.outs[0][0])
                for c in self.partials(*inputs, y, *self._params(call))
            )

    def _floats(self, call: Call) -> list[int]:
        return [k for k, (_, dtype) in enumerate(call.ins) if is_float(dtype)]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        if not is_float(call.outs[0][1]):
            return []
        cs = self._at(call, call.inputs, results[0])
        return [
            Edge(k, 0, elementwise(np.shape(call.inputs[k]), call.outs[0][0]), c)
            for k, c in zip(self._floats(call), cs, strict=True)
        ]

    def _ties(self, call: Call, y: Array) -> Array:
        """Where either of two partial derivatives is right: equal operands, or an operand of 0."""
        x, *others = call.inputs
        return np.broadcast_to(x == others[0] if others else x == 0.0, np.shape(y))

    def errors(self, call, results, edges, E, how) -> Errors:
        y, dtype = results[0], call.outs[0][1]
        if not is_float(dtype):
            return Errors([np.full(np.shape(y), _any(E))], [])
        u, tiny = how.u(dtype), how.tiny(dtype)
        floats = self._floats(call)
        cs = [np.asarray(edge.c) for edge in edges]
        moved = [k for k in floats if np.any(E[k])]
        with np.errstate(all="ignore"):
            E_c = [np.zeros(call.outs[0][0]) for _ in cs]
            for signs in itertools.product((-1.0, 1.0), repeat=len(moved)) if moved else ():
                inputs = list(call.inputs)
                for sign, k in zip(signs, moved, strict=True):
                    inputs[k] = call.inputs[k] + sign * E[k]
                corner_y = np.asarray(self.value(*inputs, *self._params(call)))
                for E_one, c, there in zip(E_c, cs, self._at(call, inputs, corner_y), strict=True):
                    away = np.abs(there - c)
                    np.maximum(E_one, np.where(np.isnan(away), np.inf, away), out=E_one, where=np.isfinite(c))
            if self.jumps:
                tie = self._ties(call, y)
                E_c = [
                    np.maximum(E_one, np.where(tie, np.maximum(np.abs(c), np.abs(1.0 - np.abs(c))), 0.0))
                    for E_one, c in zip(E_c, cs, strict=True)
                ]
            sizes = self.slope_size(*call.inputs, y, *cs) if self.slope_size else [np.abs(c) for c in cs]
            for E_one, size in zip(E_c, sizes, strict=True):
                E_one += self.slope_rounds * u * np.where(np.isfinite(size), size, 0.0) + tiny
            carried = _carried(edges, results, E, E_c)[0]
            size = np.abs(y) if self.size is None else self.size(*call.inputs, y, *self._params(call))
            rounding = self.rounds * u * np.where(np.isfinite(size), size, 0.0) + (tiny if self.rounds else 0.0)
            return Errors(
                [carried + rounding + self.rounds * u * carried], E_c if self.slope_rounds else _or_none(E_c, tiny)
            )


def _or_none(E_c: list[Array], tiny: float) -> list[Array | None]:
    """Coefficients without a rounding of their own are exact unless their operands move them."""
    found = [E - tiny for E in E_c]
    return [E if E.any() else None for E in found]


@dataclass(frozen=True)
class Structural(Primitive):
    """Components are moved, none is computed.

    Attributes:
        move: (arrays in place of the float or other operands, call) ↦ results: applied to values, to errors and to places.
        maps: call ↦ edges as (operand, result, map); the coefficients are 1.
    """

    move: Callable[..., Any] = field(kw_only=True)
    maps: Callable[[Call], list[tuple[int, int, Map]]] = field(kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        found = self.move(call.inputs, call)
        return list(found) if isinstance(found, list | tuple) else [found]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        return [
            Edge(k, r, m, None) for k, r, m in self.maps(call) if is_float(call.ins[k][1]) and is_float(call.outs[r][1])
        ]

    def errors(self, call, results, edges, E, how) -> Errors:
        found = self.move([np.broadcast_to(e, np.shape(x)) for e, x in zip(E, call.inputs, strict=True)], call)
        found = list(found) if isinstance(found, list | tuple) else [found]
        return Errors(
            [np.asarray(e, np.float64 if is_float(d) else bool) for e, (_, d) in zip(found, call.outs, strict=True)],
            [None] * len(edges),
        )


@dataclass(frozen=True)
class Linear(Primitive):
    """Linear in its one float operand, with coefficients 1 and sums.

    Attributes:
        map: call ↦ the map; its `forward` also makes the value.
    """

    map: Callable[[Call], Map] = field(kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            return [np.asarray(self.map(call).push(None, call.inputs[0]))]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        return [Edge(0, 0, self.map(call), None)]

    def errors(self, call, results, edges, E, how) -> Errors:
        u, tiny = how.u(call.outs[0][1]), how.tiny(call.outs[0][1])
        n = edges[0].map.roundings
        carried = edges[0].map.push(None, np.broadcast_to(E[0], np.shape(call.inputs[0])))
        with np.errstate(all="ignore"):
            size = edges[0].map.push(None, np.where(np.isfinite(call.inputs[0]), np.abs(call.inputs[0]), 0.0))
        return Errors([carried + gamma(n, u) * (size + carried) + (n * tiny if n else 0.0)], [None])


@dataclass(frozen=True)
class Product(Primitive):
    """Bilinear in two operands.

    Attributes:
        maps: call ↦ the maps of both operands; the coefficients of each are the other operand.
    """

    maps: Callable[[Call], tuple[Map, Map]] = field(kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            return [np.asarray(self.maps(call)[0].push(call.inputs[1], call.inputs[0]))]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        left, right = self.maps(call)
        return [Edge(0, 0, left, call.inputs[1]), Edge(1, 0, right, call.inputs[0])]

    def errors(self, call, results, edges, E, how) -> Errors:
        u, tiny = how.u(call.outs[0][1]), how.tiny(call.outs[0][1])
        n, (a, b) = edges[0].map.roundings, (np.abs(x) for x in call.inputs)
        left = edges[0].map
        E_a, E_b = (np.broadcast_to(e, np.shape(x)) for e, x in zip(E, call.inputs, strict=True))
        with np.errstate(all="ignore"):
            size = left.push(b + E_b, a + E_a)
            carried = left.push(b, E_a) if E_a.any() else 0.0
            carried = carried + (left.push(E_b, a + E_a) if E_b.any() else 0.0)
        lost = gamma(n, u) + how.product * (1.0 if n else 0.0)
        return Errors([carried + lost * size + n * tiny], [E_b if E_b.any() else None, E_a if E_a.any() else None])


@dataclass(frozen=True)
class Picked(Primitive):
    """A result that is one of several candidates: which one depends on the values, and where they are near, on rounding.

    Attributes:
        value: call ↦ results.
        maps: (call, results) ↦ edges with their coefficients: shares of the candidates.
        doubt: (call, results, edges, E) ↦ (error of each result, error of each edge's coefficients).
    """

    value: Callable[[Call], list[Array]] = field(kw_only=True)
    maps: Callable[..., list[Edge]] = field(kw_only=True)
    doubt: Callable[..., Errors] = field(kw_only=True)

    @property
    def picks(self) -> bool:
        """It does."""
        return True

    def evaluate(self, call: Call) -> list[Array]:
        return self.value(call)

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        return self.maps(call, results)

    def errors(self, call, results, edges, E, how) -> Errors:
        return self.doubt(call, results, edges, E)


_ = sum_to
