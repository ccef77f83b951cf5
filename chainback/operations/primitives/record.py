"""What a primitive is: its value, its linear maps, and how it may round. The kind of a primitive does the work.

`TABLE` holds one record a primitive, by its name in a jaxpr. A record is of a *kind*, and the kind says how a value, its
partial derivatives and its local error come of the few functions that the record brings:

* `Zero`: results that have no derivative: comparisons, integers, bits, random numbers;
* `Structural`: components are moved, none is computed; the map is a selection;
* `Linear`: linear in its one float operand, with constant coefficients: sums, cumulative sums;
* `Product`: bilinear in two operands: dot_general, convolution;
* `Picked`: a result that is one of several candidates: max, sort, select;
* `Elementwise` (in `elementwise`): one number of each operand makes one of the result;
* `Line` (in `lines`): the numbers along one axis make those of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import (
    Array,
    Call,
    Edge,
    Errors,
    Precision,
    Shape,
    gamma,
    is_float,
    is_uncertain,
    may_differ,
)
from chainback.operations.primitives.examples import Example
from chainback.operations.primitives.maps import Map, Selection, size_of

__all__ = [
    "TABLE",
    "Array",
    "Call",
    "Edge",
    "Errors",
    "Linear",
    "Picked",
    "Precision",
    "Primitive",
    "Product",
    "Shape",
    "Structural",
    "Zero",
    "carried",
    "gamma",
    "is_float",
    "register",
]


@dataclass(frozen=True)
class Primitive:
    """A primitive by its name in a jaxpr.

    Attributes:
        name: The name.
        since: The first version of JAX that has it, where that is later than 0.4.30.
        until: The first version that does not have it any more, or "".
        examples: Calls that trace to it: what its tests evaluate.
    """

    name: str
    since: str = field(default="", kw_only=True)
    until: str = field(default="", kw_only=True)
    examples: tuple[Example, ...] = field(default=(), kw_only=True)

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


def carried(
    edges: Sequence[Edge], results: Sequence[Array], E: Sequence[Array], E_c: Sequence[Array | None]
) -> list[Array]:
    """Return Σ push(|c| + E_c, E) for each result: what the operands' errors make of the result."""
    found = [np.zeros(np.shape(result)) for result in results]
    for edge, uncertain in zip(edges, E_c, strict=True):
        size = None if edge.c is None else np.abs(edge.c)
        if uncertain is not None:
            size = (1.0 if size is None else size) + uncertain
        if np.any(E[edge.operand]):
            found[edge.result] = found[edge.result] + edge.map.push(size, E[edge.operand])
    return found


def _listed(found: Any) -> list[Array]:
    return list(found) if isinstance(found, list | tuple) else [found]


def _spread(E: Sequence[Array], call: Call) -> list[Array]:
    """Return the errors of operands in the operands' shapes."""
    return [np.broadcast_to(e, np.shape(x)) for e, x in zip(E, call.inputs, strict=True)]


@dataclass(frozen=True)
class Zero(Primitive):
    """Results without a derivative.

    Attributes:
        value: call ↦ the result, or results.
        uncertain: (call, E) ↦ where another value is possible; default: where an operand is uncertain, or everywhere.
    """

    value: Callable[[Call], Any] = field(kw_only=True)
    uncertain: Callable[[Call, Sequence[Array]], Array] | None = field(default=None, kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        found = _listed(self.value(call))
        return [np.asarray(v, np.float64 if is_float(d) else None) for v, (_, d) in zip(found, call.outs, strict=True)]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return where another value is possible."""
        if not is_uncertain(E):
            doubt = np.zeros((), bool)
        elif self.uncertain is not None:
            doubt = self.uncertain(call, E)
        else:
            alike = all(np.shape(e) in ((), np.shape(results[0])) for e in E)
            doubt = may_differ(E, np.shape(results[0])) if alike else np.ones((), bool)
        reason = "a float is made of what rounding may change" if call.makes_float and doubt.any() else ""
        return Errors(
            [
                np.zeros(np.shape(r)) if is_float(d) else np.broadcast_to(doubt, np.shape(r))
                for r, (_, d) in zip(results, call.outs, strict=True)
            ],
            [],
            reason,
        )


def places(shape: Shape) -> Array:
    """Return the flat place of each component of an array."""
    return np.arange(size_of(shape)).reshape(shape)


@dataclass(frozen=True)
class Structural(Primitive):
    """Components are moved, none is computed.

    Attributes:
        move: (arrays in place of the moved operands, call) ↦ results: applied to values, errors and places 0, 1, 2, ….
            Where a result is a constant, `call.params["filled"]` says which, if it is there.
        operands: Which operands are moved; None for all. The others are indices.
        maps: call ↦ edges as (operand, result, map), where following places would be slow; the coefficients are 1.
    """

    move: Callable[[Sequence[Array], Call], Any] = field(kw_only=True)
    operands: tuple[int, ...] | None = field(default=None, kw_only=True)
    maps: Callable[[Call], list[tuple[int, int, Any]]] | None = field(default=None, kw_only=True)

    def _moved(self, call: Call) -> Sequence[int]:
        return range(len(call.inputs)) if self.operands is None else self.operands

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        return _listed(self.move(call.inputs, call))

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return a selection for each float operand and result."""
        found = self._followed(call) if self.maps is None else self.maps(call)
        return [Edge(k, r, m, None) for k, r, m in found if is_float(call.ins[k][1]) and is_float(call.outs[r][1])]

    def _followed(self, call: Call) -> list[tuple[int, int, Map]]:
        """Return the maps by following the places of each operand, with −1 for those of all others."""
        found = []
        moved = self._moved(call)
        filled = call._replace(params={**call.params, "filled": -1})
        for k in (k for k in moved if is_float(call.ins[k][1])):
            arrays = [np.full(np.shape(x), -1) if j in moved else x for j, x in enumerate(call.inputs)]
            arrays[k] = places(np.shape(call.inputs[k]))
            results = _listed(self.move(arrays, filled))
            found += [(k, r, Selection(np.asarray(index), np.shape(call.inputs[k]))) for r, index in enumerate(results)]
        return found

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the errors of the operands, moved."""
        moved = self._moved(call)
        arrays = [e if k in moved else x for k, (e, x) in enumerate(zip(_spread(E, call), call.inputs, strict=True))]
        found = _listed(self.move(arrays, call._replace(params={**call.params, "filled": 0})))
        unsure = any(np.any(e) for k, e in enumerate(E) if k not in moved)
        return Errors(
            [np.asarray(e, np.float64 if is_float(d) else bool) for e, (_, d) in zip(found, call.outs, strict=True)],
            [None] * len(edges),
            "an index that rounding may change" if unsure else "",
        )


@dataclass(frozen=True)
class Linear(Primitive):
    """Linear in its one operand, with coefficients 1 and sums; of integers as well.

    Attributes:
        map: call ↦ the map; its `push` also makes the value.
    """

    map: Callable[[Call], Map] = field(kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result."""
        with np.errstate(all="ignore"):
            found = np.asarray(self.map(call).push(None, call.inputs[0]))
        return [found if call.makes_float else found.astype(call.outs[0][1])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the one block."""
        return [Edge(0, 0, self.map(call), None)] if call.makes_float else []

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return γ_n Σ |x| + Σ E for a sum of n + 1 terms.

        Source: Higham (2002), section 4.2: any order of summation.
        """
        (x,), (e,) = call.inputs, _spread(E, call)
        if not edges:
            return Errors([np.asarray(self.map(call).push(None, e.astype(np.int64))) != 0], [])
        form, dtype = edges[0].map, call.outs[0][1]
        with np.errstate(all="ignore"):
            moved = form.push(None, e) if e.any() else 0.0
            size = form.push(None, np.where(np.isfinite(x), np.abs(x), 0.0)) + moved
        return Errors([np.asarray(moved + _of_sum(form.terms, size, dtype, how))], [None])


def _of_sum(n: int, size: Array, dtype: str, how: Precision, product: float = 0.0) -> Array:
    """Return what n roundings make of a sum whose terms have that size; ∞ where a partial sum may overflow."""
    lost = (gamma(n, how.u(dtype)) + (product if n else 0.0)) * size + n * how.tiny(dtype)
    return np.where(size < how.largest(dtype), lost, np.inf if n else 0.0)


@dataclass(frozen=True)
class Product(Primitive):
    """Bilinear in two operands.

    Attributes:
        maps: call ↦ the maps of both operands; the coefficients of each are the other operand.
    """

    maps: Callable[[Call], tuple[Map, Map]] = field(kw_only=True)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result."""
        a, b = call.inputs
        if not call.makes_float:
            a, b = a.astype(call.outs[0][1]), b.astype(call.outs[0][1])
        with np.errstate(all="ignore"):
            return [np.asarray(self.maps(call)[0].push(b, a))]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return both blocks."""
        if not call.makes_float:
            return []
        return [Edge(k, 0, m, call.inputs[1 - k]) for k, m in enumerate(self.maps(call)) if k in call.floats]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return γ_n |a||b| + |b| E_a + |a| E_b + E_a E_b for sums of n products.

        Source: Higham (2002), section 3.5.
        """
        if not call.makes_float:
            return Errors([np.full(np.shape(results[0]), is_uncertain(E))], [])
        dtype, form = call.outs[0][1], self.maps(call)[0]
        a, b = (np.abs(np.asarray(x, float)) for x in call.inputs)
        E_a, E_b = (np.asarray(e, float) for e in _spread(E, call))
        with np.errstate(all="ignore"):
            size = form.push(b + E_b, a + E_a)
            moved = form.push(b, E_a) if E_a.any() else 0.0
            moved = moved + (form.push(E_b, a + E_a) if E_b.any() else 0.0)
        E_c = [_of_other(edge, (E_a, E_b)[1 - edge.operand], call, how) for edge in edges]
        return Errors([np.asarray(moved + _of_sum(form.terms, size, dtype, how, how.product))], E_c)


def _of_other(edge: Edge, error: Array, call: Call, how: Precision) -> Array | None:
    """Return the error of a factor's coefficients; one of a coarser dtype than the result's rounds its adjoint."""
    u, own = how.u(call.outs[0][1]), how.u(call.ins[edge.operand][1])
    if own > u:
        return error + own * np.abs(np.asarray(edge.c))
    return error if error.any() else None


@dataclass(frozen=True)
class Picked(Primitive):
    """A result that is one of several candidates: which one depends on the values, and where they are near, on rounding.

    Attributes:
        value: call ↦ results.
        maps: (call, results) ↦ edges with their coefficients: shares of the candidates. Asked for floats only.
        doubt: (call, results, edges, E) ↦ (error of each result, error of each edge's coefficients).
    """

    value: Callable[[Call], list[Array]] = field(kw_only=True)
    maps: Callable[[Call, Sequence[Array]], list[Edge]] = field(kw_only=True)
    doubt: Callable[[Call, Sequence[Array], Sequence[Edge], Sequence[Array]], Errors] = field(kw_only=True)

    @property
    def picks(self) -> bool:
        """It does."""
        return True

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        return self.value(call)

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the blocks."""
        return [
            edge
            for edge in self.maps(call, results)
            if is_float(call.outs[edge.result][1]) and is_float(call.ins[edge.operand][1])
        ]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return what another choice may change."""
        return self.doubt(call, results, edges, _spread(E, call))
