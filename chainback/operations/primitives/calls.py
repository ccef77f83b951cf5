"""Calls: one application of a primitive, its blocks of L, the arithmetic in which it runs, and how far it may be off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.maps import Map

__all__ = ["Array", "Call", "Edge", "Errors", "Precision", "Shape", "gamma", "is_float", "is_uncertain", "may_differ"]

Shape = tuple[int, ...]
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
        inputs: Its operands; floats as float64, whatever the program's dtype; keys as `random_keys` holds them.
        params: As the jaxpr has them.
        ins: Shape and dtype of each operand, as the program has them.
        outs: Shape and dtype of each result.
    """

    inputs: tuple[Array, ...]
    params: Mapping[str, Any]
    ins: tuple[tuple[Shape, str], ...]
    outs: tuple[tuple[Shape, str], ...]

    @property
    def floats(self) -> list[int]:
        """The operands that have derivatives."""
        return [k for k, (_, dtype) in enumerate(self.ins) if is_float(dtype)]

    @property
    def makes_float(self) -> bool:
        """Whether the first result has a derivative."""
        return is_float(self.outs[0][1])


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
    """N u / (1 − n u).

    Source: Higham (2002), *Accuracy and Stability of Numerical Algorithms*, section 3.1.
    """
    return n * u / (1.0 - n * u) if n * u < 1.0 else float("inf")


def is_uncertain(E: Sequence[Array]) -> bool:
    """Whether any operand may lie off its value."""
    return any(bool(np.any(e)) for e in E)


def may_differ(E: Sequence[Array], shape: Shape) -> Array:
    """Return where a result that is computed number by number may be another value: where an operand may."""
    found = np.zeros((), bool)
    for e in E:
        found = found | (np.asarray(e) != 0)
    return np.broadcast_to(found, shape)
