"""The extended Jacobian of one small chain, seen: I − L, D, the couplings, the inverse, the two substitutions by steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.case import Case, Chain
from chainback.engines.triangular import ExtendedJacobian, extended_jacobian
from chainback.ensembles import rebuild
from chainback.errors import UsageError
from chainback.oracle import true_gradient

__all__ = ["MOST_LAYERS", "MOST_UNITS", "Explanation", "explain"]

Array = Any
#: Larger chains than this nobody reads step by step.
MOST_LAYERS, MOST_UNITS = 8, 3


@dataclass(frozen=True, eq=False)
class Explanation:
    """The system of one chain, solved both ways in float32, beside the gradient in float64.

    Attributes:
        case: The chain, its input and target.
        system: Its couplings, slopes and states.
        matrix: I − L.
        inverse: (I − L)⁻¹: how each state follows each layer's own change.
        rhs: D, with a column for each parameter.
        jacobian: (I − L)⁻¹ D, by forward substitution: all states in all parameters.
        adjoints: λ, by back substitution from x_N − y.
        truth: The gradient in float64, in the order of the columns of D.
    """

    case: Case
    system: ExtendedJacobian
    matrix: Float[np.ndarray, "rows rows"]
    inverse: Float[np.ndarray, "rows rows"]
    rhs: Float[np.ndarray, "depth width parameters"]
    jacobian: Float[np.ndarray, "depth width parameters"]
    adjoints: Float[np.ndarray, "depth width"]
    truth: Float[np.ndarray, " parameters"]

    @property
    def forward_gradient(self) -> Float[np.ndarray, " parameters"]:
        """The gradient as forward mode has it: the last state's row of the Jacobian, times x_N − y."""
        return self.residual @ self.jacobian[-1]

    @property
    def back_gradient(self) -> Float[np.ndarray, " parameters"]:
        """The gradient as reverse mode has it: Dᵀ λ."""
        return np.einsum("ik,ikp->p", self.adjoints, self.rhs)

    @property
    def residual(self) -> Float[np.ndarray, " width"]:
        """x_N − y."""
        return np.asarray(self.system.states)[-1] - np.asarray(self.case.targets)

    @property
    def matrices(self) -> dict[str, pd.DataFrame]:
        """I − L, its inverse, D and the Jacobian, with their rows and columns named."""
        states, parameters = self._state_names(), self._parameter_names()
        tall = len(states)
        return {
            "I − L": pd.DataFrame(self.matrix, states, states),
            "(I − L)⁻¹": pd.DataFrame(self.inverse, states, states),
            "D": pd.DataFrame(self.rhs.reshape(tall, -1), states, parameters),
            "(I − L)⁻¹ D, the Jacobian": pd.DataFrame(self.jacobian.reshape(tall, -1), states, parameters),
        }

    def __rich__(self) -> RenderableType:
        return Group(*self._parts())

    def print(self, console: Console | None = None) -> None:
        """Print the matrices and the steps."""
        (console or Console()).print(self)

    def _parts(self) -> Iterator[RenderableType]:
        named = self.case.ids[0] if self.case.ids else "a chain"
        size = f"{self.case.chain.depth} layers of width {self.case.chain.width}"
        yield Text(f"{named}: {size}, x_0 = {_vector(self.case.inputs)}, y = {_vector(self.case.targets)}\n")
        yield self._layers()
        yield Text("Differentiating every layer at once gives (I − L) dx = D dp.\n")
        matrices = self.matrices
        for name in ("I − L", "(I − L)⁻¹"):
            yield _matrix_table(name, matrices[name])
        yield _matrix_table("Dᵀ: each parameter moves its own layer only", matrices["D"].T)
        yield from self._forward_steps()
        yield self._back_steps()
        yield self._gradients()

    def _layers(self) -> Table:
        table = _table(
            "Linearised, layer by layer", "layer", "W", "b", "x_i", "slope δ_i", "coupling C_i = diag(δ_i) W_i"
        )
        chain, system = self.case.chain, self.system
        for i, name in enumerate(chain.activations):
            numbers = (chain.weights[i], chain.biases[i], system.states[i + 1], system.slopes[i], system.couplings[i])
            table.add_row(f"{i + 1} {name}", *map(_numbers, numbers))
        return table

    def _forward_steps(self) -> Iterator[RenderableType]:
        """Yield a table for each step dx_i = C_i dx_{i−1} + D_i dp, a row for each parameter that is met so far."""
        couplings, names = np.asarray(self.system.couplings), self._parameter_names()
        each = len(names) // len(couplings)
        yield Text("Forward substitution: dx_i = C_i dx_{i−1} + D_i dp, from the first layer to the last.\n")
        for i, coupling in enumerate(couplings):
            before = self.jacobian[i - 1] if i else np.zeros_like(self.jacobian[0])
            through = coupling @ before
            table = _table(f"Step {i + 1}", "", f"C_{i + 1} dx_{i}", f"D_{i + 1}", f"dx_{i + 1}")
            for place, name in enumerate(names[: (i + 1) * each]):
                parts = (through[:, place], self.rhs[i, :, place], self.jacobian[i, :, place])
                table.add_row(f"d{name}", *map(_sparse, parts))
            yield table

    def _back_steps(self) -> Table:
        """Return a row for each step λ_i = C_{i+1}ᵀ λ_{i+1}, the last layer first."""
        title = "Back substitution: λ_N = x_N − y, then λ_i = C_{i+1}ᵀ λ_{i+1}, from the last layer to the first"
        table = _table(title, "layer", "C_{i+1}ᵀ", "λ_i", "db_i = δ_i ∘ λ_i", "dW_i = db_i x_{i−1}ᵀ")
        couplings, slopes, states = map(np.asarray, (self.system.couplings, self.system.slopes, self.system.states))
        for i in reversed(range(len(slopes))):
            biases = slopes[i] * self.adjoints[i]
            through = _numbers(couplings[i + 1].T) if i + 1 < len(slopes) else ""
            cells = (self.adjoints[i], biases, np.outer(biases, states[i]))
            table.add_row(str(i + 1), through, *map(_numbers, cells))
        return table

    def _gradients(self) -> Table:
        title = "The gradient of ½‖y − x_N‖²: the same, both ways"
        table = _table(title, "", "forward: (x_N − y)ᵀ dx_N", "back: Dᵀ λ", "float64")
        rows = zip(self._parameter_names(), self.forward_gradient, self.back_gradient, self.truth, strict=True)
        for name, forward, back, truth in rows:
            table.add_row(name, f"{forward:.9g}", f"{back:.9g}", f"{truth:.12g}")
        return table

    def _state_names(self) -> list[str]:
        depth, width = self.adjoints.shape
        return [f"x_{i + 1}{_index(width, k)}" for i in range(depth) for k in range(width)]

    def _parameter_names(self) -> list[str]:
        depth, width = self.adjoints.shape
        names = []
        for i in range(1, depth + 1):
            names += [f"W_{i}{_index(width, k, j)}" for k in range(width) for j in range(width)]
            names += [f"b_{i}{_index(width, k)}" for k in range(width)]
        return names


def explain(chain: Chain | str, x: Any = None, y: Any = None) -> Explanation:
    """Write down the extended Jacobian of a small chain, and solve it step by step, forward and back.

    Args:
        chain: A chain, or the id of a case, which has its own input and target.
        x: The chain's input, shape (width,).
        y: The target, likewise.

    Raises:
        UsageError: The chain is too large to be read, the arrays do not fit, or the id names no case.
    """
    if isinstance(chain, str):
        if x is not None or y is not None:
            raise UsageError("`x` and `y` must not be given with a case id: the case has its own")
        case = rebuild(chain)
    else:
        case = Case(chain, x, y)
    chain = case.chain
    if chain.is_batch or chain.depth > MOST_LAYERS or chain.width > MOST_UNITS:
        what = "a batch" if chain.is_batch else f"{chain.depth} layers of width {chain.width}"
        raise UsageError(
            f"cannot explain {what}: nobody reads more than {MOST_LAYERS} layers of width {MOST_UNITS} step by step"
        )
    system = extended_jacobian(chain, case.inputs)
    tall = chain.depth * chain.width
    identity = np.eye(tall, dtype=np.float32).reshape(chain.depth, chain.width, tall)
    seed = np.zeros((chain.depth, chain.width, 1), np.float32)
    seed[-1, :, 0] = np.asarray(system.states)[-1] - np.asarray(case.targets)
    true = true_gradient(case)
    by_layer = [np.concatenate([np.ravel(w), np.ravel(b)]) for w, b in zip(true.weights, true.biases, strict=True)]
    return Explanation(
        case,
        system,
        np.asarray(system.matrix()),
        np.asarray(system.solve(identity)).reshape(tall, tall),
        np.asarray(system.rhs()),
        np.asarray(system.solve()),
        np.asarray(system.solve_transposed(seed))[:, :, 0],
        np.concatenate(by_layer),
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table


def _matrix_table(name: str, matrix: pd.DataFrame) -> Table:
    """Return a matrix with a dot for each zero, so that its structure is seen."""
    table = _table(name, "", *map(str, matrix.columns))
    for row, values in zip(matrix.index, matrix.to_numpy(), strict=True):
        table.add_row(str(row), *("·" if value == 0 else f"{value:.4g}" for value in values))
    return table


def _index(width: int, *places: int) -> str:
    return f"[{','.join(map(str, places))}]" if width > 1 else ""


def _vector(values: Any) -> str:
    return ", ".join(f"{float(value):.6g}" for value in np.ravel(values))


def _numbers(values: Any) -> str:
    """Write a number, a vector in one line, or a matrix in a line for each row."""
    return "\n".join(", ".join(f"{float(v) + 0.0:.4g}" for v in row) for row in np.atleast_2d(np.asarray(values)))


def _sparse(values: Any) -> str:
    return "·" if not np.any(values) else _numbers(values)
