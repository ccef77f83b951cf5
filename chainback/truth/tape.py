"""The tape of a program: its equations in order, each with its value and its block row of L, and both substitutions.

A traced function is a list of equations v_k = φ_k(v_j, j < k). Differentiating all of them at once gives

    (I − L) dv = D dx,        L_kj = ∂φ_k/∂v_j

with L strictly lower triangular. `push` is forward substitution on it: tangents of the inputs become tangents of every
variable. `pull` is back substitution on its transpose: adjoints of the outputs become adjoints of every variable. No rule of
JAX's differentiation takes part.

Source: Griewank and Walther, *Evaluating Derivatives* (2008), section 2.2 (extended system).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.record import Call, Edge, Primitive

__all__ = ["Equation", "Source", "Tape"]


@dataclass(frozen=True)
class Source:
    """Where an equation was traced from.

    Attributes:
        file: The user's file; "" where it is not known.
        line: In it.
        function: In which it stands.
        scope: Names of the calls around it, the outermost first.
    """

    file: str = ""
    line: int = 0
    function: str = ""
    scope: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file.rpartition('/')[2]}:{self.line}" if self.file else "an unknown place"
        inside = f" in {' / '.join(self.scope)}" if self.scope else ""
        return f"{place}{inside}"


@dataclass(frozen=True)
class Equation:
    """One equation of a tape.

    Attributes:
        name: Of its primitive.
        record: What is known of the primitive.
        call: Its operands and parameters.
        ins: The variables that it reads.
        outs: The variables that it defines.
        edges: Its blocks of L.
        source: Where it was traced from.
    """

    name: str
    record: Primitive
    call: Call
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    edges: tuple[Edge, ...]
    source: Source

    def __str__(self) -> str:
        return f"{self.name} at {self.source}"


@dataclass
class Tape:
    """A program's equations, evaluated in float64.

    Attributes:
        values: Of each variable; floats as float64.
        dtypes: Of each variable in the program.
        equations: In order.
        inputs: The variables of the program's arguments, flat.
        outputs: The variables of its results, flat.
        decisions: Variables on whose value the course of the program depends, each with what depends on it.
        literals: Constants written in the program, each with whether a custom call holds it.
        calls: Custom calls that were entered: the equation, what it reads and defines, and where it was traced from.
    """

    values: list[Array] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    decisions: list[tuple[int, str]] = field(default_factory=list)
    literals: list[tuple[int, bool]] = field(default_factory=list)
    calls: list[tuple[Any, tuple[int, ...], tuple[int, ...], Source]] = field(default_factory=list)

    def variable(self, value: Array, dtype: str) -> int:
        """Add a variable."""
        self.values.append(value)
        self.dtypes.append(dtype)
        return len(self.values) - 1

    def push(self, tangents: dict[int, Array]) -> list[Array | None]:
        """Solve (I − L) dv = D dx: forward substitution.

        Args:
            tangents: By variable, of the inputs.

        Returns:
            The tangent of each variable; None where nothing arrives.
        """
        found: list[Array | None] = [None] * len(self.values)
        for variable, tangent in tangents.items():
            found[variable] = np.asarray(tangent, np.float64)
        for equation in self.equations:
            for edge in equation.edges:
                tangent = found[equation.ins[edge.operand]]
                if tangent is not None:
                    _add(found, equation.outs[edge.result], np.asarray(edge.map.push(edge.c, tangent)))
        return found

    def pull(self, adjoints: dict[int, Array]) -> list[Array | None]:
        """Solve (I − L)ᵀ λ = e: back substitution.

        Args:
            adjoints: By variable, of the outputs.

        Returns:
            The adjoint of each variable; None where nothing arrives.
        """
        found: list[Array | None] = [None] * len(self.values)
        for variable, adjoint in adjoints.items():
            _add(found, variable, np.asarray(adjoint, np.float64))
        for equation in reversed(self.equations):
            for edge in equation.edges:
                adjoint = found[equation.outs[edge.result]]
                if adjoint is not None:
                    _add(found, equation.ins[edge.operand], np.asarray(edge.map.pull(edge.c, adjoint)))
        return found

    def blocks(self) -> list[tuple[int, int, Callable[[Array], Array]]]:
        """Return the blocks of L as (row variable, column variable, dx ↦ L_kj dx)."""
        return [
            (equation.outs[edge.result], equation.ins[edge.operand], lambda dx, edge=edge: edge.map.push(edge.c, dx))
            for equation in self.equations
            for edge in equation.edges
        ]


def _add(found: list[Any], variable: int, term: Array) -> None:
    found[variable] = np.asarray(term if found[variable] is None else found[variable] + term)


_ = Sequence
