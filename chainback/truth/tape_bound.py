"""The bound of a program's values and gradient: both substitutions once more, with |L| in place of L.

For each variable E bounds how far a run in the program's own dtypes may lie from the truth; for each adjoint Λ is its
magnitude, in which no sign cancels, and E_Λ its bound. With c the coefficients of a block of L, E_c their uncertainty, and
the block's transposed map pull(c, ·), linear in both:

    λ   += pull(c, λ_y)
    Λ   += pull(|c|, Λ_y)
    E_Λ += pull(|c| + E_c, E_y) + pull(E_c, Λ_y) + γ_k · pull(|c| + E_c, Λ_y + E_y)

with k the roundings that a component meets in either direction: a sum of n terms counts n both ways, since forward mode adds
what reverse mode broadcasts, and a variable that is read m times counts m. So the bound covers forward and reverse mode, and
any order that a compiler may choose. Each product may underflow: forward mode may lose η in any variable's tangent, which
reaches the result with that variable's Λ, so that η Σ Λ is added to every component.

Source: Linnainmaa (1976) and Iri (1984), the adjoint as the carrier of rounding errors; Higham (2002), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.record import Precision, gamma, is_float
from chainback.truth.tape import Equation, Tape

__all__ = ["Adjoints", "ForwardErrors", "adjoints", "forward_errors"]


@dataclass(frozen=True)
class ForwardErrors:
    """How far each variable, and each coefficient of L, may lie from the truth.

    Attributes:
        variables: For a float the bound of its error; for another whether it may be another value.
        coefficients: For each equation, for each of its edges; None where c is exact.
        undecided: Why nothing can be decided of the program, or "".
    """

    variables: list[Array]
    coefficients: list[list[Array | None]]
    undecided: str


def forward_errors(
    tape: Tape, how: Precision, inexact: Mapping[int, Array] | None = None, limits: Sequence[Array] | None = None
) -> ForwardErrors:
    """Return how far a run of the program may lie from its tape.

    Args:
        tape: The program, read in float64.
        how: The arithmetic of the run.
        inexact: By variable, errors of inputs and literals; what is not named is exact.
        limits: Of each variable how far it lies off at most, by another yardstick: the smaller of the two is taken.
    """
    given = inexact or {}
    zero: list[Array] = [np.zeros((), np.float64 if is_float(dtype) else bool) for dtype in tape.dtypes]
    found = [np.asarray(given.get(k, z)) for k, z in enumerate(zero)]
    coefficients: list[list[Array | None]] = []
    reasons: list[str] = []
    origins = _Origins(len(tape.values))
    with np.errstate(all="ignore"):
        for equation in tape.equations:
            results = [tape.values[k] for k in equation.outs]
            errors = equation.record.errors(
                equation.call, results, equation.edges, [found[k] for k in equation.ins], how
            )
            uncertain = [None if E is None else np.asarray(E) for E in errors.coefficients]
            origins.follow(equation, uncertain)
            for k, error, value in zip(equation.outs, errors.results, results, strict=True):
                if equation.name in _COMPARED and np.any(error) and origins.same(*equation.ins):
                    x, y = equation.call.inputs
                    error = error & (x != y)
                if is_float(tape.dtypes[k]):
                    # An infinity, or a NaN, that every run has is exact; a finite value that a run may lose is not.
                    error = np.where(np.isfinite(value), error, 0.0)
                    if limits is not None:
                        error = np.fmin(error, limits[k])
                    size = np.abs(np.where(np.isfinite(value), value, 0.0)) + error
                    if not np.all(size < how.largest(tape.dtypes[k])) and not reasons:
                        reasons.append(f"{equation} may overflow")
                found[k] = np.asarray(error)
            coefficients.append(uncertain)
            if errors.reason:
                reasons.append(f"{equation}: {errors.reason}")
            if equation.name in _TAKEN and any(
                np.any(found[k]) for k in equation.ins[1:] if not is_float(tape.dtypes[k])
            ):
                reasons.append(f"{equation}: an index that rounding may change")
    for variable, what in tape.decisions:
        if np.any(found[variable]):
            reasons.append(f"{what} depends on a value that rounding may change")
    return ForwardErrors(found, coefficients, reasons[0] if reasons else "")


_COMPARED = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


class _Origins:
    """Of each variable those whose components it holds, moved or picked: equal numbers of one origin are equal in every run.

    JAX asks whether an operand equals the maximum of which it is one.
    """

    def __init__(self, count: int) -> None:
        self._of: list[frozenset[int]] = [frozenset()] * count

    def follow(self, equation: Equation, coefficients: Sequence[Array | None]) -> None:
        """Follow an equation, where it moves or picks and there is no doubt what."""
        moves = equation.record.kind in _MOVING or equation.record.picks
        if not moves or any(E is not None and np.any(E) for E in coefficients):
            return
        found = frozenset().union(*(self._of[k] | {k} for k in equation.ins))
        for k in equation.outs:
            self._of[k] = found

    def same(self, a: int, b: int) -> bool:
        """Whether one variable holds components of the other."""
        return a == b or a in self._of[b] or b in self._of[a]


_MOVING = frozenset({"structural"})
#: Primitives whose operands behind the first are indices.
_TAKEN = frozenset({"gather", "scatter", "scatter-add", "scatter-sub", "dynamic_slice", "dynamic_update_slice"})


@dataclass(frozen=True)
class Adjoints:
    """The gradient of a program with respect to its inputs, and its bound.

    Attributes:
        gradient: λ of each input; None where nothing arrives.
        magnitude: Λ, likewise.
        bound: E_Λ, likewise, the allowance for underflow included.
        all_magnitudes: Λ of every variable.
    """

    gradient: list[Array | None]
    magnitude: list[Array | None]
    bound: list[Array | None]


def adjoints(
    tape: Tape, errors: ForwardErrors, seeds: Mapping[int, Array], how: Precision, *, choices_only: bool = False
) -> Adjoints:
    """Return the gradient of Σ seed · output with respect to each input of a tape, with its bound.

    Args:
        tape: The program.
        errors: Of its way forward.
        seeds: By output variable, exact.
        how: The arithmetic of the run.
        choices_only: Whether the bound is to hold only what other choices at kinks and ties make, and no rounding.
    """
    n = len(tape.values)
    λ: list[Array | None] = [None] * n
    Λ: list[Array | None] = [None] * n
    E: list[Array | None] = [None] * n
    for k, seed in seeds.items():
        for into, value in ((λ, seed), (Λ, np.abs(seed)), (E, np.zeros_like(np.asarray(seed, float)))):
            _add(into, k, np.asarray(value, np.float64))
    readers = np.zeros(n, int)
    for equation in tape.equations:
        for edge in equation.edges:
            readers[equation.ins[edge.operand]] += 1
    floor = 0.0
    with np.errstate(all="ignore"):
        for equation, uncertain in zip(reversed(tape.equations), reversed(errors.coefficients), strict=True):
            picks = equation.record.picks
            for edge, E_c in zip(equation.edges, uncertain, strict=True):
                if choices_only and not picks:
                    E_c = None
                y, x = equation.outs[edge.result], equation.ins[edge.operand]
                if λ[y] is None:
                    continue
                λ_y, Λ_y, E_y = np.asarray(λ[y]), np.asarray(Λ[y]), np.asarray(E[y])
                size = None if edge.c is None else np.abs(edge.c)
                wide = size if E_c is None else (1.0 if size is None else size) + E_c
                u, tiny = how.u(tape.dtypes[y]), how.tiny(tape.dtypes[y])
                k = edge.map.roundings + (0 if edge.c is None else 1) + max(readers[x] - 1, len(equation.edges) - 1, 0)
                magnitude = np.asarray(edge.map.pull(size, Λ_y))
                bound = edge.map.pull(wide, E_y) if E_y.any() else np.zeros_like(magnitude)
                if E_c is not None:
                    bound = bound + edge.map.pull(E_c, Λ_y)
                if not choices_only:
                    bound = bound + gamma(k, u) * (
                        edge.map.pull(wide, Λ_y + E_y) if (E_c is not None or E_y.any()) else magnitude
                    )
                if k and not choices_only:
                    bound = bound + k * tiny
                    floor += k * tiny * float(np.sum(Λ_y))
                _add(λ, x, np.asarray(edge.map.pull(edge.c, λ_y)))
                _add(Λ, x, magnitude)
                _add(E, x, np.asarray(bound))
    bounds = [None if E[k] is None else _with_floor(np.asarray(E[k]), np.asarray(Λ[k]), floor) for k in tape.inputs]
    return Adjoints([λ[k] for k in tape.inputs], [Λ[k] for k in tape.inputs], bounds)


def _with_floor(E: Array, Λ: Array, floor: float) -> Array:
    """Add the allowance for underflow, but where no path carries anything: an exact zero stays one in every order."""
    return np.asarray(np.where((Λ == 0.0) & (E == 0.0), 0.0, E + floor))


def _add(found: list[Array | None], variable: int, term: Array) -> None:
    held = found[variable]
    found[variable] = np.asarray(term if held is None else held + term)
