"""Examples: calls of `jax.lax` as text, with what their operands may be. Plain data, which a test evaluates.

An example stands in the record of the primitive that it traces to. Its operands are drawn from an rng at any scale, or set
to ugly places: zeros of both signs, ties, kinks, the ends of a domain, subnormal, tiny and large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.arithmetic import Array

__all__ = ["Example", "Operand", "example", "flags", "real", "whole"]

#: Places at which functions tend to go wrong; the third from last is subnormal in float32.
_PLACES = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.1, 1e-3, -1e-3, 1e-7, -30.0, 90.0, 1e-40, 1e10, -1e30)


@dataclass(frozen=True)
class Operand:
    """What an operand may be.

    Attributes:
        shape: Its shape.
        kind: "float", which is drawn in the program's dtype, or the name of a dtype that is not a float.
        low: No component is smaller.
        high: None is larger.
        at: Places of its own at which the function has a kink, a step, a tie or a pole.
        only: The only values that it may have, where not empty.
    """

    shape: tuple[int, ...]
    kind: str = "float"
    low: float = -math.inf
    high: float = math.inf
    at: tuple[float, ...] = ()
    only: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator, scale: float = 1.0) -> Array:
        """Return components of about a scale, or all over the domain where it is bounded."""
        if self.only:
            return rng.choice(np.asarray(self.only, float), self.shape)
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        if self.kind != "float":
            return rng.integers(int(self.low), int(self.high), self.shape, np.dtype(self.kind), endpoint=True)
        found = scale * rng.standard_normal(self.shape)
        if math.isfinite(self.low) and math.isfinite(self.high):
            width = self.high - self.low
            return self.low + np.abs((found - self.low + width) % (2.0 * width) - width)
        if math.isfinite(self.low):
            return self.low + np.abs(found)
        return self.high - np.abs(found) if math.isfinite(self.high) else found

    def ugly(self, rng: np.random.Generator) -> Array:
        """Return components at ugly places, many of them equal."""
        if self.kind != "float" or self.only:
            return self.draw(rng)
        places = [*_PLACES, *self.at, *self.at, self.low, self.high]
        pool = [x for x in places if self.low <= x <= self.high and math.isfinite(x)]
        return rng.choice(rng.choice(np.asarray(pool), 7), self.shape)


def real(*shape: int, low: float = -math.inf, high: float = math.inf, at: tuple[float, ...] = ()) -> Any:
    """A float operand."""
    return Operand(shape, low=low, high=high, at=at)


def whole(*shape: int, low: int = -9, high: int = 9, dtype: str = "int32") -> Any:
    """An integer operand."""
    return Operand(shape, dtype, low, high)


def flags(*shape: int) -> Any:
    """A Boolean operand."""
    return Operand(shape, "bool")


@dataclass(frozen=True)
class Example:
    """A call that traces to a primitive.

    Attributes:
        call: A Python expression over `jax`, `jnp`, `lax`, `np`, `random` (`jax.random`) and the operands.
        operands: By name.
        judged: The operands with respect to which JAX has a derivative; None for every float one.
        since: The first version of JAX that traces it so.
        until: The first version that does not any more.
    """

    call: str
    operands: Mapping[str, Any] = field(default_factory=dict)
    judged: tuple[str, ...] | None = None
    since: str = ""
    until: str = ""

    @property
    def floats(self) -> tuple[str, ...]:
        """The operands with respect to which it is differentiated."""
        if self.judged is not None:
            return self.judged
        return tuple(name for name, operand in self.operands.items() if operand.kind == "float")


def example(
    call: str, *, judged: tuple[str, ...] | None = None, since: str = "", until: str = "", **operands: Any
) -> Example:
    """Return an example; its operands by name."""
    return Example(call, operands, judged, since, until)
