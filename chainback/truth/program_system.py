"""The extended Jacobian of a program, seen: I − L as a sparse matrix, and both substitutions on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve_triangular

from chainback.errors import UsageError
from chainback.operations.arithmetic import Array
from chainback.operations.primitives.record import is_float
from chainback.truth.tape import Equation, Tape

__all__ = ["ProgramSystem"]

#: Numbers in all variables beyond which the matrix is not written down: its blocks are found column by column.
_MOST = 20_000


@dataclass(frozen=True)
class ProgramSystem:
    """(I − L) dv = D dx of a traced function at its arguments, in float64.

    Attributes:
        tape: The function's equations, evaluated.
        inputs: What each input is called; its variable is that of the same place in `tape.inputs`.
        outputs: Likewise of the results.
    """

    tape: Tape
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def equations(self) -> tuple[Equation, ...]:
        """The equations, in order: each a block row of L."""
        return tuple(self.tape.equations)

    def solve(self, tangents: Sequence[Any]) -> list[Array]:
        """Return the tangents of the results, by forward substitution.

        Args:
            tangents: Of each input, in its shape; None for one that does not move.
        """
        given = {k: np.asarray(t, np.float64) for k, t in zip(self.tape.inputs, tangents, strict=True) if t is not None}
        return self._filled(self.tape.push(given), self.tape.outputs)

    def solve_transposed(self, adjoints: Sequence[Any]) -> list[Array]:
        """Return the gradient with respect to each input, by back substitution.

        Args:
            adjoints: Of each result, in its shape; None for one that does not count.
        """
        given: dict[int, Array] = {}
        for k, adjoint in zip(self.tape.outputs, adjoints, strict=True):
            if adjoint is not None:
                given[k] = np.asarray(given.get(k, 0.0) + np.asarray(adjoint, np.float64))
        return self._filled(self.tape.pull(given), self.tape.inputs)

    def _filled(self, found: list[Array | None], wanted: Sequence[int]) -> list[Array]:
        values = self.tape.values
        return [np.zeros(np.shape(values[k])) if found[k] is None else np.asarray(found[k]) for k in wanted]

    def places(self) -> dict[int, slice]:
        """Return the rows of I − L that belong to each variable that is a float."""
        found, start = {}, 0
        for k, (value, dtype) in enumerate(zip(self.tape.values, self.tape.dtypes, strict=True)):
            if is_float(dtype):
                found[k] = slice(start, start + np.size(value))
                start += np.size(value)
        return found

    def matrix(self) -> sparse.csr_array:
        """Return I − L, unit lower triangular, a row for each number of each float variable.

        Raises:
            UsageError: The program has too many numbers to write it down.
        """
        places = self.places()
        size = max((place.stop for place in places.values()), default=0)
        if size > _MOST:
            raise UsageError(f"the program has {size:,} numbers: I − L is written down up to {_MOST:,}")
        rows: list[Array] = []
        columns: list[Array] = []
        entries: list[Array] = []
        for row, column, push in self.tape.blocks():
            shape = np.shape(self.tape.values[column])
            for place in range(int(np.prod(shape, dtype=np.int64))):
                unit = np.zeros(shape)
                unit[np.unravel_index(place, shape)] = 1.0
                block = np.ravel(push(unit))
                at = np.flatnonzero(block)
                rows.append(places[row].start + at)
                columns.append(np.full(at.size, places[column].start + place))
                entries.append(-block[at])
        if entries:
            below = (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns)))
            return sparse.csr_array(sparse.eye_array(size) + sparse.csr_array(below, shape=(size, size)))
        return sparse.csr_array(sparse.eye_array(size))

    def solve_matrix(self, adjoints: Sequence[Any]) -> list[Array]:
        """Return what `solve_transposed` does, by SciPy's triangular solve on the matrix; for small programs."""
        places, matrix = self.places(), self.matrix()
        rhs = np.zeros(max((place.stop for place in places.values()), default=0))
        for k, adjoint in zip(self.tape.outputs, adjoints, strict=True):
            if adjoint is not None:
                rhs[places[k]] += np.ravel(np.asarray(adjoint, np.float64))
        found = spsolve_triangular(sparse.csr_array(matrix.T), rhs, lower=False, unit_diagonal=True)
        values = self.tape.values
        return [np.asarray(found[places[k]]).reshape(np.shape(values[k])) for k in self.tape.inputs]
