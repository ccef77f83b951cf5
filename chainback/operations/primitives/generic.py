"""reduce and reduce_window with a function of their own, as long as that is one of the usual ones.

The function comes as a jaxpr of one equation, whose primitive says which. The result is op(starting value, reduction), since
a starting value need not be neutral: two records in turn, the reduction's and the operation's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision, gamma
from chainback.operations.primitives.candidates import Lines, over_axes, over_windows
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.extremes import Extreme
from chainback.operations.primitives.lines import product_line
from chainback.operations.primitives.record import TABLE, Linear, Primitive, Zero, register

_BITWISE = {"and": (np.bitwise_and, -1), "or": (np.bitwise_or, 0), "xor": (np.bitwise_xor, 0)}


def _operation(jaxpr: Any) -> str:
    """Return the name of the one primitive that a reducing function applies to its two arguments.

    Raises:
        NotImplementedError: It does something else.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    if len(inner.eqns) == 1 and len(inner.invars) == 2 and set(inner.invars) == set(inner.eqns[0].invars):
        eqn = inner.eqns[0]
        if eqn.primitive.name in ("jit", "pjit"):
            return _operation(eqn.params["jaxpr"])
        if eqn.primitive.name in ("add", "mul", "max", "min", *_BITWISE):
            return str(eqn.primitive.name)
    raise NotImplementedError("a reduction by a function of its own, other than add, mul, max, min, and, or, xor")


def _reduction(operation: str, form: Callable[[Call], Lines]) -> Primitive:
    """Return the record of a reduction from a neutral starting value."""
    if operation == "add":
        return Linear(operation, map=form)
    if operation == "mul":
        return product_line(operation, form)
    if operation in ("max", "min"):
        return Extreme(operation, largest=operation == "max", form=form)
    how, neutral = _BITWISE[operation]

    def value(call: Call) -> Array:
        x = call.inputs[0]
        start = bool(neutral) if x.dtype == bool else neutral
        return how.reduce(form(call).candidates(x, start), axis=-1)

    return Zero(operation, value=value)


@dataclass(frozen=True)
class _Generic(Primitive):
    """A reduction of one operand by a usual function.

    Attributes:
        form: call ↦ the candidates of each result.
    """

    form: Callable[[Call], Lines] = field(kw_only=True)

    @property
    def picks(self) -> bool:
        """It may."""
        return True

    def _inner(self, call: Call) -> tuple[Primitive, Call]:
        if len(call.inputs) != 2:
            raise NotImplementedError("a reduction of several operands at once")
        return _reduction(_operation(call.params["jaxpr"]), self.form), call._replace(
            inputs=call.inputs[:1], ins=call.ins[:1]
        )

    def _outer(self, call: Call, reduced: Array) -> tuple[Primitive, Call]:
        record = TABLE[_operation(call.params["jaxpr"])]
        return record, Call((reduced, call.inputs[1]), {}, (call.outs[0], call.ins[1]), call.outs)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result.

        Raises:
            NotImplementedError: The function is none of the usual ones.
        """
        record, part = self._inner(call)
        outer, whole = self._outer(call, record.evaluate(part)[0])
        return outer.evaluate(whole)

    def _both(self, call: Call, results: Sequence[Array]) -> tuple[Any, Any]:
        record, part = self._inner(call)
        reduced = record.evaluate(part)
        outer, whole = self._outer(call, reduced[0])
        return (
            (record, part, reduced, record.edges(part, reduced)),
            (outer, whole, results, outer.edges(whole, results)),
        )

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the blocks of the operand and of the starting value: partial derivatives, multiplied."""
        (_, _, _, inner), (_, _, _, outer) = self._both(call, results)
        if not inner:
            return []
        (edge,), (by_reduced, by_start) = inner, outer
        if by_reduced.c is not None:
            weight = edge.map.disarranged(by_reduced.c)[..., None]  # type: ignore[attr-defined]
            edge = edge._replace(c=weight * (1.0 if edge.c is None else edge.c))
        return [edge, by_start]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the errors of the reduction, and then of the operation."""
        (record, part, reduced, inner), (outer, whole, _, after) = self._both(call, results)
        first = record.errors(part, reduced, inner, E[:1], how)
        reached = first.results[0]
        if record.name == "add" and inner:  # the starting value is one more term, wherever it comes in
            reached = reached + gamma(inner[0].map.terms + 1, how.u(call.outs[0][1])) * np.abs(call.inputs[1])
        second = outer.errors(whole, results, after, [reached, E[1]], how)
        if not edges:
            return Errors(second.results, [])
        c, weight = (0.0 if e is None else np.abs(e) for e in (edges[0].c, after[0].c))
        form: Any = edges[0].map
        slack = second.coefficients[0]
        wide = 1.0 if after[0].c is None else form.disarranged(weight + (0.0 if slack is None else slack))[..., None]
        own = first.coefficients[0]
        size = (1.0 if inner[0].c is None else np.abs(inner[0].c)) + (0.0 if own is None else own)
        unsure = None if edges[0].c is None else np.asarray(wide * size - c)
        return Errors(second.results, [unsure, second.coefficients[1]])


register(
    _Generic(
        "reduce",
        form=over_axes,
        examples=(
            example("lax.reduce(x, 1.5, lax.add, (0,))", x=real(3, 4), judged=()),
            example("lax.reduce(x, 0.5, lax.max, (1,))", x=real(3, 4), judged=()),
            example("lax.reduce(x, 2.0, lax.mul, (1,))", x=real(3, 4), judged=()),
            example("lax.reduce(x, jnp.int32(5), lax.bitwise_xor, (1,))", x=whole(3, 4)),
        ),
    ),
    _Generic(
        "reduce_window",
        form=over_windows,
        examples=(
            example("lax.reduce_window(x, 1.5, lax.add, (2, 3), (1, 2), 'SAME')", x=real(4, 5), judged=()),
            example("lax.reduce_window(x, 0.5, lax.max, (2, 3), (1, 2), 'SAME')", x=real(4, 5), judged=()),
            example("lax.reduce_window(x, 1.0, lax.mul, (2, 3), (1, 2), 'VALID')", x=real(4, 5), judged=()),
        ),
    ),
)
