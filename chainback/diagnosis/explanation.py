"""The extended Jacobian of one small chain: I − L, D, the couplings, the inverse, and both substitutions step by step."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.engines.triangular import ExtendedJacobian, extended_jacobian
from chainback.errors import UsageError, sentence
from chainback.problems.chain import Case, Chain
from chainback.problems.ensembles import rebuild
from chainback.truth.chain_gradient import true_gradient

__all__ = ["MOST_LAYERS", "MOST_UNITS", "Explanation", "explain"]

#: The largest chain that is printed step by step.
MOST_LAYERS, MOST_UNITS = 8, 3


@dataclass(frozen=True, eq=False)
class Explanation:
    """The system of one chain, solved both ways in float32, beside the gradient in float64.

    Attributes:
        case: The chain, its input and target.
        system: Its couplings, slopes and states.
        matrix: I − L.
        inverse: (I − L)⁻¹: the derivative of each state in each layer's local change.
        rhs: D, with a column for each parameter.
        jacobian: (I − L)⁻¹ D, by forward substitution: all states in all parameters.
        adjoints: λ, by back substitution from x_N − y.
        reference: The gradient in float64, in the order of the columns of D.
    """

    case: Case
    system: ExtendedJacobian
    matrix: Float[np.ndarray, "rows rows"]
    inverse: Float[np.ndarray, "rows rows"]
    rhs: Float[np.ndarray, "depth width parameters"]
    jacobian: Float[np.ndarray, "depth width parameters"]
    adjoints: Float[np.ndarray, "depth width"]
    reference: Float[np.ndarray, " parameters"]

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
        """All of it as matrices, with rows and columns named: the system, its inverse, both substitutions by steps."""
        states, parameters = self._state_names(), self._parameter_names()
        tall = len(states)
        return {
            "I − L": pd.DataFrame(self.matrix, states, states),
            "D": pd.DataFrame(self.rhs.reshape(tall, -1), states, parameters),
            "Couplings C_i = diag(δ_i) W_i": self._coupling_frame(),
            "(I − L)⁻¹": pd.DataFrame(self.inverse, states, states),
            "Forward substitution, step by step: dx_i = C_i dx_{i−1} + D_i dp": self._forward_frame(),
            "Back substitution, step by step: λ_i = C_{i+1}ᵀ λ_{i+1}": self._back_frame(),
            "The gradient, both ways": self._gradient_frame(),
        }

    def _coupling_frame(self) -> pd.DataFrame:
        couplings = np.asarray(self.system.couplings)
        depth, width = self.adjoints.shape
        columns = [f"C_{i + 1}{_index(width, j)}" for i in range(depth) for j in range(width)]
        rows = [_index(width, k) for k in range(width)]
        return pd.DataFrame(couplings.transpose(1, 0, 2).reshape(width, -1), rows, columns)

    def _forward_frame(self) -> pd.DataFrame:
        """Return, for each step, what comes through the coupling, the layer's local part, and their sum."""
        width, names, rows, parts = self.adjoints.shape[1], [], [], self._forward_parts()
        for i, (through, local, total) in enumerate(parts):
            what = [(f"D_{i + 1} dp", local), (f"dx_{i + 1}", total)]
            for name, part in [(f"C_{i + 1} dx_{i}", through), *what] if i else what:
                names += [f"{name}{_index(width, k)}" for k in range(width)]
                rows += list(part)
        return pd.DataFrame(np.array(rows), names, self._parameter_names())

    def _back_frame(self) -> pd.DataFrame:
        """Return, for each step, the adjoints that are known so far: the last layer's first."""
        depth, width = self.adjoints.shape
        rows = {f"λ_{depth} = x_{depth} − y": depth - 1}
        rows |= {f"λ_{i + 1} = C_{i + 2}ᵀ λ_{i + 2}": i for i in reversed(range(depth - 1))}
        names = [f"λ_{i + 1}{_index(width, k)}" for i in range(depth) for k in range(width)]
        known = [np.where(np.arange(depth)[:, None] >= i, self.adjoints, 0.0).ravel() for i in rows.values()]
        return pd.DataFrame(np.array(known), list(rows), names)

    def _gradient_frame(self) -> pd.DataFrame:
        rows = np.array([self.forward_gradient, self.back_gradient, self.reference])
        return pd.DataFrame(rows, ["(x_N − y)ᵀ dx_N", "Dᵀ λ", "float64"], self._parameter_names())

    def _forward_parts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return C_i dx_{i−1}, D_i and dx_i of each step, of shape (width, parameters)."""
        before = [np.zeros_like(self.jacobian[0]), *self.jacobian[:-1]]
        through = [coupling @ last for coupling, last in zip(np.asarray(self.system.couplings), before, strict=True)]
        return list(zip(through, self.rhs, self.jacobian, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self._parts(options.max_width)

    def print(self, console: Console | None = None) -> None:
        """Print the matrices and the steps."""
        (console or Console()).print(self)

    def _parts(self, wide: int) -> Iterator[RenderableType]:
        named = self.case.ids[0] if self.case.ids else "a chain"
        size = f"{self.case.chain.depth} layers of width {self.case.chain.width}"
        yield Text(f"{named}: {size}, x_0 = {_vector(self.case.inputs)}, y = {_vector(self.case.targets)}\n")
        yield from self._layers()
        yield Text("Differentiating every layer at once gives (I − L) dx = D dp.\n")
        matrices = self.matrices
        for name in ("I − L", "(I − L)⁻¹"):
            yield from _matrix_tables(name, matrices[name], wide)
        yield from _matrix_tables("Dᵀ: each parameter moves its own layer only", matrices["D"].T, wide)
        yield from self._forward_steps()
        yield from self._back_steps()
        yield self._gradients()

    def _layers(self) -> Iterator[Table]:
        """Yield a row for each layer; of wider chains in two tables, so that a matrix fits a line."""
        chain, system = self.case.chain, self.system
        names = [f"{i + 1} {name}" for i, name in enumerate(chain.activations)]
        parameters = {"W": chain.weights, "b": chain.biases, "x_i": system.states[1:]}
        derived = {"slope δ_i": system.slopes, "C_i = diag(δ_i) W_i": system.couplings}
        yield from _by_layer(
            "Linearised, layer by layer: state x_i, slope δ_i, coupling C_i", names, parameters, derived
        )

    def _forward_steps(self) -> Iterator[RenderableType]:
        """Yield a table for each step dx_i = C_i dx_{i−1} + D_i dp, a row for each parameter that is met so far."""
        names = self._parameter_names()
        each = len(names) // len(self.adjoints)
        yield Text("Forward substitution: dx_i = C_i dx_{i−1} + D_i dp, from the first layer to the last.\n")
        for i, parts in enumerate(self._forward_parts()):
            table = _table(f"Step {i + 1}", "", f"C_{i + 1} dx_{i}", f"D_{i + 1}", f"dx_{i + 1}")
            for place, name in enumerate(names[: (i + 1) * each]):
                table.add_row(f"d{name}", *(_sparse(part[:, place]) for part in parts))
            yield table

    def _back_steps(self) -> Iterator[RenderableType]:
        """Yield a row for each step λ_i = C_{i+1}ᵀ λ_{i+1}, the last layer first."""
        yield Text("Back substitution: λ_N = x_N − y, then λ_i = C_{i+1}ᵀ λ_{i+1}, from the last layer to the first.\n")
        couplings, slopes, states = map(np.asarray, (self.system.couplings, self.system.slopes, self.system.states))
        biases = slopes * self.adjoints
        through = [*(coupling.T for coupling in couplings[1:]), None]
        weights = [np.outer(b, x) for b, x in zip(biases, states, strict=False)]
        steps = {"C_{i+1}ᵀ": through[::-1], "λ_i": self.adjoints[::-1]}
        gradients = {"db_i = δ_i ∘ λ_i": biases[::-1], "dW_i = db_i x_{i−1}ᵀ": weights[::-1]}
        yield from _by_layer("Steps", [str(i) for i in range(len(slopes), 0, -1)], steps, gradients)

    def _gradients(self) -> Table:
        title = "The gradient of ½‖y − x_N‖²: the same, both ways"
        table = _table(title, "", "forward: (x_N − y)ᵀ dx_N", "back: Dᵀ λ", "float64")
        rows = zip(self._parameter_names(), self.forward_gradient, self.back_gradient, self.reference, strict=True)
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


def explain(chain: Chain | Case | str, x: Any = None, y: Any = None) -> Explanation:
    """Write down the extended Jacobian of a small chain, and solve it step by step, forward and back.

    Args:
        chain: A chain; or what has its own input and target: a case, a case's id, or `package.module:name` of a case.
        x: The chain's input, shape (width,).
        y: The target, likewise.

    Raises:
        UsageError: The chain is too large to be read, the arrays do not fit, or the name is of no case.
    """
    if isinstance(chain, Chain):
        case = Case(chain, x, y)
    elif x is not None or y is not None:
        raise UsageError("`x` and `y` must not be given with a case, or its id: it has its own")
    else:
        case = _named(chain) if isinstance(chain, str) else chain
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


def _named(name: str) -> Case:
    """Return the case of an id, or the user's own of `package.module:name`."""
    module, colon, attribute = name.partition(":")
    if "@" in name or not (module and colon and attribute):
        return rebuild(name)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # importing a user's module may raise anything
        raise UsageError(f"case {name!r} cannot be loaded: {sentence(error)}") from None
    if not isinstance(found, Case):
        raise UsageError(f"{name!r} must be a chainback.Case(chain, x, y), got a {type(found).__name__}")
    return found


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table


def _by_layer(title: str, names: list[str], first: dict[str, Any], second: dict[str, Any]) -> Iterator[Table]:
    """Yield a table of a row for each layer, or two where the layers are wider than one."""
    wide = len(np.ravel(next(iter(second.values()))[0])) > 1
    for place, columns in enumerate((first, second) if wide else ({**first, **second},)):
        table = _table(title if place == 0 else "", "layer", *columns)
        for i, name in enumerate(names):
            table.add_row(name, *("" if values[i] is None else _upright(values[i]) for values in columns.values()))
        yield table


def _matrix_tables(title: str, matrix: pd.DataFrame, wide: int) -> Iterator[Table]:
    """Yield a matrix with a dot for each zero, so that its structure is seen; in parts where it is broader than the page."""
    cells = [["·" if value == 0 else f"{value:.4g}" for value in row] for row in matrix.to_numpy()]
    widths = [
        max(len(str(name)), *map(len, column)) + 3
        for name, column in zip(matrix, zip(*cells, strict=True), strict=True)
    ]
    room = wide - max(map(len, map(str, matrix.index))) - 3
    first = 0
    while first < len(widths):
        last = first + 1
        while last < len(widths) and sum(widths[first : last + 1]) <= room:
            last += 1
        table = _table(title if first == 0 else "", "", *map(str, matrix.columns[first:last]))
        for name, row in zip(matrix.index, cells, strict=True):
            table.add_row(str(name), *row[first:last])
        yield table
        first = last


def _index(width: int, *places: int) -> str:
    return f"[{','.join(map(str, places))}]" if width > 1 else ""


def _vector(values: Any) -> str:
    return ", ".join(f"{float(value):.6g}" for value in np.ravel(values))


def _upright(values: Any) -> str:
    """Write a number, a vector as a column, or a matrix in a line for each row."""
    array = np.asarray(values)
    cells = [[f"{float(v) + 0.0:.4g}" for v in row] for row in (array if array.ndim == 2 else array.reshape(-1, 1))]
    wide = max(len(cell) for row in cells for cell in row)
    return "\n".join("  ".join(cell.rjust(wide) for cell in row) for row in cells)


def _sparse(values: Any) -> str:
    return "·" if not np.any(values) else ", ".join(f"{float(value) + 0.0:.4g}" for value in values)
