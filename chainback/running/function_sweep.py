"""The sweep of elementary functions: each alone, value and derivatives, judged by the float64 reference.

A function is one program: its value, a forward derivative in each argument and all reverse derivatives at once. All
functions are given arrays of one length, so that un-jitted operations compile once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np

from chainback.engines.networks import Array
from chainback.judging.judgement import Verdict
from chainback.judging.pointwise import Expected, judge_points
from chainback.operations.arithmetic import FLOAT64, Arithmetic
from chainback.operations.elementwise import JaxFunction
from chainback.operations.jax_functions import JAX_FUNCTIONS
from chainback.operations.reference import MOST_POINTS, flushed, points_of, truth_of

__all__ = ["FunctionSweep", "function_sweeps"]

#: One more than a multiple of every vector's length, so that a remainder is left over.
_LENGTH = MOST_POINTS + 25


@dataclass(frozen=True)
class Quantity:
    """What is judged in a row: the value, or the derivative in an argument, computed by one method."""

    argument: str
    method: str

    @property
    def name(self) -> str:
        """Whether it is the "value" or a "derivative"."""
        return "derivative" if self.argument else "value"

    @property
    def row(self) -> int:
        """Its place in the stored reference."""
        return 1 + int(self.argument) if self.argument else 0


def _quantities(arity: int) -> list[Quantity]:
    slopes = [Quantity(str(a), method) for method in ("forward", "reverse") for a in range(arity)]
    return [Quantity("", "primal"), *slopes]


def find(path: str) -> Callable[..., Array] | None:
    """Return the function that JAX has under that path, or None."""
    found: Any = jax
    for part in path.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def _program(function: JaxFunction, called: Callable[..., Array]) -> Callable[..., tuple[Array, ...]]:
    """Return the program that computes all quantities of a function, in the order of `_quantities`."""

    def of(*arrays: Array) -> Array:
        return called(*function.arguments(*arrays), **dict(function.options))

    def forward(place: int, arrays: Sequence[Array]) -> Array:
        def along(x: Array) -> Array:
            return of(*arrays[:place], x, *arrays[place + 1 :])

        return jax.jvp(along, (arrays[place],), (jnp.ones_like(arrays[place]),))[1]

    def everything(*arrays: Array) -> tuple[Array, ...]:
        value, pull = jax.vjp(of, *arrays)
        return of(*arrays), *(forward(place, arrays) for place in range(len(arrays))), *pull(jnp.ones_like(value))

    return everything


@dataclass(frozen=True)
class FunctionSweep:
    """One function over its points, in one way.

    Attributes:
        function: Which.
        execution: "jitted" or "eager".
        arithmetic: Of its arguments.
        dtype: Likewise: "float32" or "float64".
        device: Where to run.
    """

    function: JaxFunction
    execution: str
    arithmetic: Arithmetic
    dtype: str
    device: Any

    def __str__(self) -> str:
        return f"{self.function.name} ({self.function.second or 'unary'}), {self.execution}, {self.dtype}"

    #: The column that names what is swept.
    subject = "function"

    def rows(self) -> list[dict[str, Any]]:
        """Run and judge: rows of `functions.csv`."""
        called = find(self.function.path)
        if called is None:
            return [self._identity(Quantity("", "")) | _nothing(Verdict.NOT_THERE, "this JAX does not have it")]
        points = points_of(self.function.computes).astype(self.dtype)
        padded = np.concatenate([np.repeat(points[:, :1], _LENGTH - points.shape[1], axis=1), points], axis=1)
        results = self._run(_program(self.function, called), padded)
        return [
            self._identity(quantity) | self._judge(quantity, np.asarray(result)[-points.shape[1] :])
            for quantity, result in zip(_quantities(self.function.computes.arity), results, strict=True)
        ]

    def _run(self, program: Callable[..., tuple[Array, ...]], padded: np.ndarray) -> tuple[Array, ...]:
        arrays = [jax.device_put(part, self.device) for part in padded]
        if self.execution == "jitted":
            return jax.jit(program)(*arrays)
        with jax.disable_jit(not self.function.loops), jax.default_device(self.device):
            return program(*arrays)

    def failed(self, reason: str) -> list[dict[str, Any]]:
        """Return the rows of a sweep that gave nothing to judge."""
        return [
            self._identity(quantity) | _nothing(Verdict.REJECTED, reason, points_of(self.function.computes).shape[1])
            for quantity in _quantities(self.function.computes.arity)
        ]

    def _identity(self, quantity: Quantity) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "function": self.function.name,
            "argument": quantity.argument,
            "quantity": quantity.name,
            "method": quantity.method,
            "execution": self.execution,
            "second": self.function.second,
        }

    def _judge(self, quantity: Quantity, got: np.ndarray) -> dict[str, Any]:
        elementary = self.function.computes
        expected = _expected(self.function, quantity, self.arithmetic)
        judged = ~np.isnan(expected[0].reference)
        points = points_of(elementary)
        regions = [
            (
                np.broadcast_to(known.where(*points.astype(np.float64), expected[0].reference), judged.shape)[judged],
                known.why,
            )
            for known in self.function.known
            if known.quantity == quantity.name
            and known.argument in ("", quantity.argument)
            and known.dtype in ("", self.dtype)
        ]
        known = np.logical_or.reduce([where for where, _ in regions]) if regions else None
        at_judged = [Expected(one.reference[judged], one.bound[judged]) for one in expected]
        swept = judge_points(got[judged], at_judged, self.arithmetic, known)
        places = np.flatnonzero(judged)
        worst, furthest = places[swept.worst], places[swept.furthest]
        return swept.counts | {
            "known": int(swept.excused.sum()),
            "worst_x": float(points[0, worst]),
            "worst_y": float(points[1, worst]) if elementary.arity == 2 else np.nan,
            "got": float(got[worst]),
            "expected": float(expected[0].reference[worst]),
            "error_u_max_x": float(points[0, furthest]),
            "loses": elementary.digits_lost if elementary.roundings[quantity.row].scale is not None else "",
            "note": _note(regions, swept.excused),
        }


def _note(regions: Sequence[tuple[np.ndarray, str]], excused: np.ndarray) -> str:
    """Say which known faults show, and which do not."""
    shown = [why for where, why in regions if (where & excused).any()]
    gone = [why for where, why in regions if where.any() and not (where & excused).any()]
    if regions and gone and not shown:
        return f"mended: {'; '.join(gone)}"
    return "; ".join(dict.fromkeys(shown))


def _nothing(verdict: Verdict, note: str, points: int = 0) -> dict[str, Any]:
    unmeasured = dict.fromkeys(
        ("sharp", "margin_max", "error_u_max", "error_u_p99", "error_u_rms", "lost_everything", "known"), np.nan
    )
    counts = {"points": points, "accepted": 0, "rejected": points, "verdict": str(verdict)}
    return counts | unmeasured | {"digest": "", "loses": "", "note": note}


def _expected(function: JaxFunction, quantity: Quantity, arithmetic: Arithmetic) -> list[Expected]:
    """Return what is right at each point: the reference; where it may overflow, infinity.

    And the reference of each way in which subnormal arguments may be flushed to 0.
    """
    elementary = function.computes
    points, table = points_of(elementary).astype(np.float64), truth_of(elementary)
    model = elementary.roundings[quantity.row]
    double = arithmetic.unit_roundoff < 2.0**-50
    units = model.units_float64 if double and model.units_float64 is not None else model.units
    truth = table[quantity.row]
    with np.errstate(all="ignore"):
        scale = model.sigma(*points, reference=truth)
        scale = np.where(np.isfinite(scale), scale, np.abs(truth))
        # A step of the rule may underflow, and so may half of x before it is doubled.
        underflow = 2.0 * arithmetic.smallest_normal * (1.0 + np.minimum(np.abs(points), 200.0).sum(axis=0))
        bound = (units + 0.5 * double) * arithmetic.unit_roundoff * scale + underflow
        bound = np.where(np.isfinite(bound), bound, 0.0)
        if quantity.argument:
            bound = bound + table[quantity.row + elementary.arity]
        ways = [Expected(truth[way], bound[way]) for way in flushed(elementary)] if not double else []
        undefined = np.isnan([one.reference for one in ways]).any(axis=0) if ways else np.isnan(truth)
        truth = np.where(undefined, np.nan, truth)
        beyond = np.abs(truth) + bound >= arithmetic.largest
        expected = [Expected(truth, bound), Expected(np.where(beyond, np.copysign(np.inf, truth), truth), bound), *ways]
        # At -0, and where an argument is flushed to it, an infinity may have either sign.
        low = np.signbit(points).any(axis=0)
        for one in (Expected(truth, bound), *ways):
            pole = low & np.isinf(one.reference) & ((np.abs(points) < 2.0**-126).any(axis=0))
            expected.append(Expected(np.where(pole, -one.reference, one.reference), one.bound))
    return expected


def function_sweeps(
    arithmetic: Arithmetic, device: Any, functions: Sequence[JaxFunction] = JAX_FUNCTIONS
) -> Iterator[FunctionSweep]:
    """Return how every function is swept: jitted and un-jitted, in float32, and in float64 where JAX has it on."""
    for function in functions:
        for execution in ("jitted", "eager"):
            yield FunctionSweep(function, execution, arithmetic, "float32", device)
            if jax.config.read("jax_enable_x64"):
                yield FunctionSweep(function, execution, FLOAT64, "float64", device)
