"""Record types of elementary functions: domain, special points, rounding model; an activation adds curvature.

ElementaryFunction      name, domains, kinks, special points, rounding models
├─ SweptFunction      its float64 reference is stored, at points made of its domain and special points (`reference`)
└─ Activation         its float64 value and slope are computed, and bounds of its curvature are known
JaxFunction             JAX's implementation of a swept function: its path, how it is called, its known faults
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from chainback.operations.arithmetic import Array

__all__ = [
    "REAL",
    "Activation",
    "Domain",
    "ElementaryFunction",
    "JaxFunction",
    "KnownFault",
    "Local",
    "RoundingModel",
    "SweptFunction",
]


@dataclass(frozen=True)
class Domain:
    """An interval of the extended reals.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        closed: Whether (low, high) belong to it. An infinity that does is a point at which the function has a limit.
    """

    low: float
    high: float
    closed: tuple[bool, bool] = (True, True)

    @classmethod
    def of(cls, text: str) -> Domain:
        """Read an interval in the notation of mathematics: `[0, inf)`."""
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), (text[0] == "[", text[-1] == "]"))

    def contains(self, x: Array) -> Array:
        """Return which numbers belong to the interval."""
        above = x >= self.low if self.closed[0] else x > self.low
        return above & (x <= self.high if self.closed[1] else x < self.high)

    @property
    def ends(self) -> tuple[float, ...]:
        """The finite ends."""
        return tuple(end for end in (self.low, self.high) if np.isfinite(end))


#: The real numbers.
REAL = Domain(-math.inf, math.inf, (False, False))


@dataclass(frozen=True)
class RoundingModel:
    """How an implementation of a function may round: an error of at most c u σ, u being the unit roundoff.

    Attributes:
        units: c.
        scale: σ, of (arguments…, reference), in the unit of the reference; None means |reference|.
        units_float64: c in float64, where it is another.
    """

    units: float = 4.0
    scale: Callable[..., Any] | None = None
    units_float64: float | None = None

    def sigma(self, *arguments: Array, reference: Array) -> Array:
        """Return σ at points: arguments and reference are one array each, of the shape of the points."""
        return np.abs(reference) if self.scale is None else self.scale(*arguments, reference)


@dataclass(frozen=True)
class KnownFault:
    """A fault of released JAX versions: shown in every report, and no rejection.

    Attributes:
        quantity: "value" or "derivative".
        where: Maps (arguments…, reference) to whether the fault may show there.
        why: What it is, in a sentence.
        argument: Of which derivative, "0" or "1"; "" for all.
        dtype: In which dtype alone; "" for both.
    """

    quantity: str
    where: Callable[..., Array]
    why: str
    argument: str = ""
    dtype: str = ""


@dataclass(frozen=True)
class ElementaryFunction:
    """An elementary function of one or two real arguments.

    Attributes:
        name: The key in its table.
        domains: The domain of each argument.
        kinks: Where the function, or a derivative of it, jumps.
    """

    name: str
    domains: tuple[Domain, ...] = field(default=(REAL,), kw_only=True)
    kinks: tuple[float, ...] = field(default=(), kw_only=True)

    @property
    def arity(self) -> int:
        """How many arguments it has."""
        return len(self.domains)


@dataclass(frozen=True)
class SweptFunction(ElementaryFunction):
    """An elementary function whose float64 reference is stored at fixed points.

    Attributes:
        roundings: How its value may round, then its partial derivative in each argument.
        special: Other points to look at closely: roots, extrema, where an implementation changes its formula.
        poles: Whether 0 and the negative integers are poles, and left out.
        largest: The largest |x| to look at, other than infinity.
        smallest: The smallest |x| to look at, other than 0.
        digits_lost: Which digits its derivative is known to lose, in a sentence, where the rounding model is wide for that
            reason.
    """

    roundings: tuple[RoundingModel, ...]
    special: tuple[float, ...] = ()
    poles: bool = False
    largest: float = math.inf
    smallest: float = 0.0
    digits_lost: str = ""


@dataclass(frozen=True)
class JaxFunction:
    """One of JAX's functions, and the elementary function that it computes.

    Attributes:
        path: Where JAX has it.
        computes: The elementary function.
        fixed: Arguments that are plain numbers, by their place.
        options: Keyword arguments.
        known: What is known to be wrong with it.
        loops: Whether it has loops that would take too long op by op: un-jitted, the parts that JAX compiles stay compiled.
    """

    path: str
    computes: SweptFunction
    fixed: tuple[tuple[int, float], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    known: tuple[KnownFault, ...] = ()
    loops: bool = False

    @property
    def name(self) -> str:
        """Its path, and where an argument is fixed or named how it is called."""
        if not self.fixed and not self.options:
            return self.path
        return f"{self.path}({', '.join([*map(str, self.arguments('x')), *(f'{k}={v}' for k, v in self.options)])})"

    @property
    def second(self) -> str:
        """Whether its second argument is an array or a scalar; "" if it is neither."""
        if self.computes.arity == 2:
            return "array"
        return "scalar" if 1 in dict(self.fixed) and len(self.fixed) == 1 else ""

    def arguments(self, *arrays: Any) -> list[Any]:
        """Return all its positional arguments, from those that are not fixed."""
        fixed, free = dict(self.fixed), iter(arrays)
        return [fixed[place] if place in fixed else next(free) for place in range(len(fixed) + len(arrays))]


class Local(NamedTuple):
    """How an activation behaves around z, one array (or number) each, all nonnegative.

    Attributes:
        curvature: |h''(z)|.
        second: T₂(z), where |h''(z + e)| <= T₂(z) exp(rate |e|) for every e.
        third: T₃(z), likewise for |h'''|.
        rate: The rate above.
        value_scale: σ_v, the size of what cancels inside the value; a value is computed to within c_v u σ_v.
        slope_scale: σ_s, likewise for the slope.
    """

    curvature: Any
    second: Any
    third: Any
    rate: Any
    value_scale: Any
    slope_scale: Any


@dataclass(frozen=True)
class Activation(ElementaryFunction):
    """An activation h: its float64 value and slope, its rounding model and its curvature.

    Attributes:
        name: How chains name it.
        value: h, float64 to float64, elementwise, accurate to a few units of 2⁻⁵³.
        slope: h', likewise; at a kink the value that JAX documents.
        local: The quantities of `Local`.
        second_max: M₂, the supremum of |h''| (away from kinks).
        third_max: M₃, the supremum of |h'''| (away from kinks and creases).
        slope_range: Infimum and supremum of h'.
        value_range: Infimum and supremum of h.
        value_rounding: c_v, how many u an implementation of h may lose, measured against σ_v.
        slope_rounding: c_s, likewise for h'.
        kinks: Where h' jumps; there either one-sided slope is right, unless it is settled.
        settled: Whether the slope at a kink is documented, so that only `slope` is right where the argument hits it exactly.
        creases: Where h'' jumps.
        function: The JAX function under test. None for the built-in activations, which `engines.networks` lists.
        derivative: The JAX function (z) -> (value, slope) of the triangular engines. None as above.
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    local: Callable[[np.ndarray], Local]
    second_max: float
    third_max: float
    slope_range: tuple[float, float]
    value_range: tuple[float, float] = (-math.inf, math.inf)
    value_rounding: float = 0.0
    slope_rounding: float = 0.0
    settled: bool = False
    creases: tuple[float, ...] = ()
    function: Callable[..., Any] | None = None
    derivative: Callable[..., Any] | None = None

    @property
    def lipschitz(self) -> float:
        """The largest |h'|."""
        return max(abs(bound) for bound in self.slope_range)

    @property
    def roundings(self) -> tuple[RoundingModel, RoundingModel]:
        """How h and h' may round: c_v u σ_v and c_s u σ_s."""
        return (
            RoundingModel(self.value_rounding, lambda z, _: self.local(z).value_scale),
            RoundingModel(self.slope_rounding, lambda z, _: self.local(z).slope_scale),
        )
