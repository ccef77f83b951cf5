"""One case layer by layer: each state, slope, coupling and adjoint beside its reference and its bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from chainback.engines.triangular import extended_jacobian
from chainback.judging.judgement import margin_of
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.chain import Case
from chainback.truth.chain_bound import envelope, linearisation

__all__ = ["layer_table", "layers"]

#: Rows of a printed table; of a longer one the first and the last are shown.
_MOST_ROWS = 160


def layers(case: Case, arithmetic: Arithmetic) -> pd.DataFrame:
    """Return a case's linearisation as the triangular method computes it, beside the truth and its bound.

    Args:
        case: A single case.
        arithmetic: The arithmetic it is computed in.

    Returns:
        Rows (layer, activation, quantity, index, computed, true, bound, margin): every state, slope and coupling, within
        the bounds by which `verify` judges a linearisation, and every adjoint.
    """
    within = envelope(case, arithmetic)
    linear, error_bounds = linearisation(within), within.error_bounds
    system = extended_jacobian(case.chain, case.inputs)
    seed = np.zeros_like(np.asarray(system.slopes))
    seed[-1] = np.asarray(system.states)[-1] - case.targets
    adjoints = np.asarray(system.solve_transposed(seed[:, :, None]))[:, :, 0]
    computed = {"state": system.states[1:], "slope": system.slopes, "coupling": system.couplings, "adjoint": adjoints}
    true = linear.split(linear.reference[0]) | {"adjoint": within.truth.adjoints[..., 0]}
    bounds = linear.split(linear.bound[0]) | {"adjoint": (error_bounds.adjoints + error_bounds.underflow)[..., 0]}
    rows = []
    for layer, name in enumerate(case.chain.activations):
        for quantity, values in computed.items():
            for index in np.ndindex(true[quantity][layer].shape):
                got, expected, bound = (
                    float(np.asarray(array)[layer][index]) for array in (values, true[quantity], bounds[quantity])
                )
                rows.append(
                    {
                        "layer": layer + 1,
                        "activation": name,
                        "quantity": quantity,
                        "index": ",".join(map(str, index)),
                        "computed": got,
                        "true": expected,
                        "bound": bound,
                        "margin": margin_of(abs(got - expected), bound),
                    }
                )
    return pd.DataFrame(rows)


def layer_table(case: Case, frame: pd.DataFrame) -> Table:
    """Return the rows of `layers` as a table for a terminal."""
    wide = case.chain.width > 1
    title = f"{case.ids[0] if case.ids else 'case'}: x_0 = {_numbers(case.inputs)}, y = {_numbers(case.targets)}"
    shown = frame if len(frame) <= _MOST_ROWS else pd.concat([frame.head(_MOST_ROWS // 2), frame.tail(_MOST_ROWS // 2)])
    hidden = len(frame) - len(shown)
    caption = f"{hidden} rows between the first and the last layers are not shown" if hidden else None
    table = Table(title=title, title_justify="left", caption=caption, box=None)
    for column in ("layer", "", *(("index",) if wide else ()), "computed", "true", "bound", "margin"):
        table.add_column(column, justify="left" if column in ("layer", "", "index") else "right")
    before = None
    for row in shown.to_dict("records"):
        label = f"{row['layer']} {row['activation']}" if row["layer"] != before else ""
        before = row["layer"]
        numbers = (f"{row['computed']:.9g}", f"{row['true']:.12g}", f"{row['bound']:.2g}", f"{row['margin']:.2g}")
        table.add_row(label, row["quantity"], *((row["index"],) if wide else ()), *numbers)
    return table


def _numbers(values: Any) -> str:
    return ", ".join(f"{float(v):.9g}" for v in np.asarray(values).ravel())
