"""Elementwise primitives, the kind: one number of each operand makes one of the result.

A record brings the value and the partial derivatives in closed form, in float64, and how many u an implementation may lose
of each. The rounding model of a derivative is that of the formula which JAX's rule evaluates: the terms that cancel in it
are its `slope_size`, and intermediate results that may leave the range of a dtype stand in `through`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision, is_uncertain, may_differ
from chainback.operations.primitives.examples import Example, example, real
from chainback.operations.primitives.maps import elementwise
from chainback.operations.primitives.record import Primitive, carried

__all__ = ["Elementwise", "unary"]

#: How many u are lost: in any dtype, or by dtype with "" for all others.
Rounds = float | Mapping[str, float]


@dataclass(frozen=True)
class Elementwise(Primitive):
    """y = f(x, …), number by number, with broadcasting.

    Attributes:
        value: (*inputs, *params) ↦ y.
        partials: (*inputs, y, *params) ↦ the partial derivative for each float operand; None where it is 1.
        takes: Names of the parameters that the two take.
        rounds: How many u an implementation may lose of `size`.
        size: (*inputs, y, *params) ↦ the magnitude of the terms that cancel in the value; default |y|.
        slope_rounds: How many u JAX's derivative rule may lose of `slope_size`.
        slope_size: (*inputs, y, *partials, *params) ↦ likewise for each partial; default: its magnitude.
        within: (*inputs, y, *params) ↦ magnitudes of what the value is computed from and that must not overflow.
        floor: (*inputs, y, *params) ↦ by what the value multiplies something that may underflow; default 1.
        through: (*inputs, y, *params) ↦ magnitudes of what JAX's rule computes on the way and that must not overflow.
        slope_floors: (*inputs, y, *params) ↦ for each partial by what the rule multiplies something that may underflow.
        moved: (inputs, E, *params) ↦ how far each partial may move with the operands; default: at the corners x ± E.
        breaks: (inputs, E, *params) ↦ where f has a pole, a branch cut or the end of its domain within x ± E; or for each
            operand, where its partial derivative has.
        steps: Whether the value jumps: floor, round.
        jumps: Whether the partial derivatives jump where both operands are equal, or the one is 0: either side is right.
    """

    value: Callable[..., Any] = field(kw_only=True)
    partials: Callable[..., tuple[Any, ...]] = field(kw_only=True)
    takes: tuple[str, ...] = field(default=(), kw_only=True)
    rounds: Rounds = field(default=1.0, kw_only=True)
    size: Callable[..., Array] | None = field(default=None, kw_only=True)
    slope_rounds: Rounds = field(default=4.0, kw_only=True)
    slope_size: Callable[..., Sequence[Array]] | None = field(default=None, kw_only=True)
    within: Callable[..., Sequence[Array]] | None = field(default=None, kw_only=True)
    floor: Callable[..., Array] | None = field(default=None, kw_only=True)
    through: Callable[..., Sequence[Array]] | None = field(default=None, kw_only=True)
    slope_floors: Callable[..., Sequence[Array | float]] | None = field(default=None, kw_only=True)
    moved: Callable[..., Sequence[Array | None]] | None = field(default=None, kw_only=True)
    breaks: Callable[..., Array | tuple[Array, ...]] | None = field(default=None, kw_only=True)
    steps: bool = field(default=False, kw_only=True)
    jumps: bool = field(default=False, kw_only=True)

    @property
    def picks(self) -> bool:
        """Whether its partial derivatives jump somewhere."""
        return self.jumps

    def _params(self, call: Call) -> list[Any]:
        return [call.params[name] for name in self.takes]

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result."""
        shape, dtype = call.outs[0]
        with np.errstate(all="ignore"):
            found = np.asarray(self.value(*call.inputs, *self._params(call)))
        return [np.broadcast_to(found if call.makes_float else found.astype(dtype), shape)]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return a block for each float operand."""
        if not call.makes_float or self.steps:
            return []
        shape = call.outs[0][0]
        return [
            Edge(k, 0, elementwise(np.shape(call.inputs[k]), shape), None if c is None else np.broadcast_to(c, shape))
            for k, c in zip(call.floats, self._slopes(call, call.inputs, results[0]), strict=True)
        ]

    def _slopes(self, call: Call, inputs: Sequence[Array], y: Array) -> list[Array | None]:
        with np.errstate(all="ignore"):
            found = self.partials(*inputs, y, *self._params(call))
        return [None if c is None else np.asarray(c, np.float64) for c in found]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the error of the result and of each partial."""
        (shape, dtype), y = call.outs[0], results[0]
        if not call.makes_float:
            return Errors([may_differ(E, shape)], [])
        with np.errstate(all="ignore"):
            if self.steps:
                return Errors([np.broadcast_to(self._step(call, y, E), shape)], [])
            E_c = self._moves(call, y, edges, E)
            if self.breaks is not None and is_uncertain(E):
                broken = self.breaks(call.inputs, E, *self._params(call))
                of_each = broken if isinstance(broken, tuple) else (broken,) * len(edges)
                E_c = [_infinite(e, where, shape) for e, where in zip(E_c, of_each, strict=True)]
            if self.jumps:
                E_c = self._tied(call, shape, edges, E_c)
            E_c = self._rounded_slopes(call, y, edges, E_c, how)
            moved = carried(edges, results, E, E_c)[0]
            rounds = self._count(self.rounds, dtype, how)
            if not rounds:
                return Errors([moved], E_c)
            size = np.abs(y) if self.size is None else self.size(*call.inputs, y, *self._params(call))
            floor = 1.0 if self.floor is None else np.maximum(self.floor(*call.inputs, y, *self._params(call)), 1.0)
            lost = rounds * how.u(dtype) * (_finite(size, y) + moved) + how.tiny(dtype) * floor
            beyond = self._overflows(self.within, call, y, how) & np.isfinite(y)
            return Errors([np.where(beyond, np.inf, moved + lost)], E_c)

    def _count(self, rounds: Rounds, dtype: str, how: Precision) -> float:
        """A count by dtype is that of an implementation, which a reading in float64 does not use."""
        if isinstance(rounds, Mapping):
            return rounds[""] if how.everywhere else rounds.get(dtype, rounds[""])
        return rounds

    def _overflows(
        self, magnitudes: Callable[..., Sequence[Array]] | None, call: Call, y: Array, how: Precision
    ) -> Array:
        """Return where something on the way overflows."""
        found, dtype = np.zeros((), bool), call.outs[0][1]
        for size in magnitudes(*call.inputs, y, *self._params(call)) if magnitudes else ():
            found = found | ~(size < how.largest(dtype))
        return found

    def _corners(self, call: Call, E: Sequence[Array]) -> list[list[Array]]:
        """Return the operands at every corner of x ± E; none where nothing is uncertain."""
        moved = [k for k in call.floats if np.any(E[k])]
        found = []
        for signs in itertools.product((-1.0, 1.0), repeat=len(moved)) if moved else ():
            inputs = list(call.inputs)
            for sign, k in zip(signs, moved, strict=True):
                inputs[k] = call.inputs[k] + sign * E[k]
            found.append(inputs)
        return found

    def _step(self, call: Call, y: Array, E: Sequence[Array]) -> Array:
        found = np.zeros(np.shape(y))
        for inputs in self._corners(call, E):
            found = np.maximum(found, np.abs(np.asarray(self.value(*inputs, *self._params(call))) - y))
        return np.where(np.isnan(found), np.where(np.isfinite(y), np.inf, 0.0), found)

    def _moves(self, call: Call, y: Array, edges: Sequence[Edge], E: Sequence[Array]) -> list[Array | None]:
        """Return how far each partial may move with the operands."""
        if not any(np.any(E[k]) for k in call.floats):
            return [None] * len(edges)
        if self.moved is not None:
            moves = self.moved(call.inputs, E, *self._params(call))
            return [
                None if edge.c is None or m is None or not np.any(m) else m
                for edge, m in zip(edges, moves, strict=True)
            ]
        found = [None if edge.c is None else np.zeros(np.shape(y)) for edge in edges]
        for inputs in self._corners(call, E):
            corner = np.asarray(self.value(*inputs, *self._params(call)))
            for E_one, edge, there in zip(found, edges, self._slopes(call, inputs, corner), strict=True):
                if E_one is not None and edge.c is not None:
                    away = np.abs(there - edge.c)
                    np.maximum(E_one, np.where(np.isnan(away), np.inf, away), out=E_one, where=np.isfinite(edge.c))
        return found

    def _tied(
        self, call: Call, shape: tuple[int, ...], edges: Sequence[Edge], E_c: Sequence[Array | None]
    ) -> list[Array | None]:
        """Add what another choice may change where two operands are equal, or the one is 0."""
        x, *others = call.inputs
        cs = [np.abs(np.asarray(edge.c)) for edge in edges]
        tie = np.broadcast_to(x == others[0] if others else x == 0.0, shape)
        if not tie.any():
            return list(E_c)
        return [
            np.maximum(
                0.0 if E_one is None else E_one,
                np.where(tie, np.maximum(c, np.abs(1.0 - c)), 0.0),
            )
            for E_one, c in zip(E_c, cs, strict=True)
        ]

    def _rounded_slopes(
        self, call: Call, y: Array, edges: Sequence[Edge], E_c: Sequence[Array | None], how: Precision
    ) -> list[Array | None]:
        """Add what JAX's rule loses of each partial; ∞ where it, or what it computes on the way, overflows."""
        dtype = call.outs[0][1]
        rounds, u = self._count(self.slope_rounds, dtype, how), how.u(dtype)
        if not rounds:
            return list(E_c)
        cs = [np.ones(()) if edge.c is None else edge.c for edge in edges]
        sizes = (
            self.slope_size(*call.inputs, y, *cs, *self._params(call)) if self.slope_size else [np.abs(c) for c in cs]
        )
        out_of_range = self._overflows(self.through, call, y, how)
        floors = self.slope_floors(*call.inputs, y, *self._params(call)) if self.slope_floors else [1.0] * len(cs)
        found: list[Array | None] = []
        for E_one, edge, size, floor in zip(E_c, edges, sizes, floors, strict=True):
            if edge.c is None:
                found.append(E_one)
                continue
            lost = (
                rounds * u * _finite(size, edge.c)
                + how.tiny(dtype) * np.maximum(floor, 1.0)
                + (0.0 if E_one is None else E_one)
            )
            beyond = out_of_range | ((np.abs(edge.c) >= how.largest(dtype)) & np.isfinite(edge.c))
            found.append(np.broadcast_to(np.where(beyond, np.inf, lost), np.shape(edge.c)))
        return found


def _finite(size: Array, exact: Array) -> Array:
    """Return the size of what rounds: an infinite result is exact, and a finite one of unknown size has no bound."""
    return np.where(np.isfinite(size), size, np.where(np.isfinite(exact), np.inf, 0.0))


def _infinite(E: Array | None, where: Array, shape: tuple[int, ...]) -> Array | None:
    where = np.broadcast_to(where, shape)
    return np.where(where, np.inf, 0.0 if E is None else E) if where.any() else E


def unary(
    name: str,
    value: Any,
    slope: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    at: tuple[float, ...] = (),
    examples: tuple[Example, ...] = (),
    **options: Any,
) -> Elementwise:
    """Return the record of a function of one number; `slope` maps (x, y, *params) to y'.

    Args:
        name: Of the primitive, and of the function of `jax.lax` in its example.
        value: Of x and the parameters.
        slope: Its derivative.
        low: The domain's lower end.
        high: Its upper end.
        at: Ugly places of its own.
        examples: Others than the usual one.
        options: As for `Elementwise`.
    """
    usual = (example(f"lax.{name}(x)", x=real(40, low=low, high=high, at=at)),)
    return Elementwise(name, value=value, partials=lambda *xs: (slope(*xs),), examples=examples or usual, **options)
