"""The charts of a report's page, by plotly, from its rows: small ones, one for each ensemble or activation.

Colours of text and rules are left to the page, which has them light, dark and in print.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from chainback.pictures import line_styles
from chainback.rounding import FLOAT32

__all__ = [
    "embedded",
    "errors_by_depth",
    "errors_over_z",
    "legend_of_engines",
    "legend_of_markers",
    "legend_of_sweeps",
    "margins_by_ensemble",
]

#: Of what is no engine: the bound, and the largest error of any engine. It is seen on white and on black.
_GREY = "#888888"
_BOUND = {"color": _GREY, "dash": "dash", "width": 2}
_LARGEST = {"color": _GREY, "dash": "dot", "width": 1.5}
#: What stands for a dash where there is no line.
_MARKERS = {"solid": "circle", "dash": "diamond", "dot": "square", "dashdot": "triangle-up"}
#: By quantity and method of a sweep.
_SWEEPS = {
    ("value", "primal"): {"color": "#CC79A7", "dash": "solid"},
    ("slope", "forward"): {"color": "#E69F00", "dash": "solid"},
    ("slope", "reverse"): {"color": "#2A8FD8", "dash": "dash"},
    ("slope", "closed form"): {"color": "#009E73", "dash": "dot"},
}
_TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
#: Below this an error in u is drawn as this: a logarithm has no place for 0.
_LEAST_U = 0.01

Legend = list[tuple[str, str, str]]


def legend_of_engines(engines: Sequence[str]) -> Legend:
    """Return (name, colour, dash) of each engine, and of the lines that are none."""
    drawn = line_styles(engines)
    names = [(name, drawn[name]["color"], drawn[name]["dash"]) for name in engines]
    return [*names, ("largest of any engine", _GREY, "dot"), ("bound (median)", _GREY, "dash")]


def legend_of_markers(engines: Sequence[str]) -> Legend:
    """Return (name, colour, marker) of each engine."""
    drawn = line_styles(engines)
    return [(name, drawn[name]["color"], _MARKERS[drawn[name]["dash"]]) for name in engines]


def legend_of_sweeps() -> Legend:
    """Return (name, colour, dash) of each way to measure an activation."""
    return [(_sweep_name(*way), style["color"], style["dash"]) for way, style in _SWEEPS.items()]


def errors_by_depth(tolerance: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw, for each ensemble, the 99th percentile of the error in u against depth, with the bound's median.

    Args:
        tolerance: The rows of `tolerance.csv`; of several widths the worst is drawn.
    """
    rows: Any = tolerance[tolerance["execution"] == "batched"]
    engines = list(dict.fromkeys(rows["engine"]))
    drawn, figures = line_styles(engines), {}
    for ensemble in sorted(set(rows["ensemble"])):
        its = rows[rows["ensemble"] == ensemble]
        figure = go.Figure()
        for name in engines:
            one = its[its["engine"] == name].groupby("depth")["error_u_p99"].max()
            figure.add_trace(_line(one, name, drawn[name]))
        by_depth = its.groupby("depth")
        figure.add_trace(_line(by_depth["error_u_max"].max(), "largest", _LARGEST))
        if "bound_u_p50" in its:
            figure.add_trace(_line(by_depth["bound_u_p50"].median(), "bound (median)", _BOUND))
        figures[str(ensemble)] = _dressed(figure, "depth", "error, u")
        figure.update_yaxes(**_decades(rows[["error_u_p99", "error_u_max"]].to_numpy(dtype=float)))
        depths = sorted(set(its["depth"]))
        figure.update_xaxes(type="log", tickvals=_thinned(depths), ticktext=[str(d) for d in _thinned(depths)])
    return figures


def margins_by_ensemble(tolerance: pd.DataFrame) -> go.Figure:
    """Draw the largest margin (error / bound) of each engine on each ensemble; 1 is the bound."""
    rows: Any = tolerance[tolerance["execution"] == "batched"]
    engines, ensembles = list(dict.fromkeys(rows["engine"])), sorted(set(rows["ensemble"]), reverse=True)
    largest = rows.groupby(["engine", "ensemble"])["margin_max"].max()
    drawn, figure = line_styles(engines), go.Figure()
    for place, name in enumerate(engines):
        shift = 0.7 * (0.5 - (place + 0.5) / len(engines))
        margins = [float(largest.get((name, ensemble), np.nan)) for ensemble in ensembles]
        figure.add_trace(
            go.Scatter(
                x=[_positive(margin, 1e-3) for margin in margins],
                y=[i + shift for i in range(len(ensembles))],
                customdata=margins,
                text=ensembles,
                name=name,
                mode="markers",
                marker={"color": drawn[name]["color"], "symbol": _MARKERS[drawn[name]["dash"]], "size": 7},
                hovertemplate="%{text}: %{customdata:.3g}<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_vline(x=1.0, line=_BOUND)
    _dressed(figure, "largest error / bound", "", height=60 + 34 * len(ensembles))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="log", dtick=1)
    return figure.update_yaxes(type="linear", tickvals=list(range(len(ensembles))), ticktext=ensembles, zeroline=False)


def errors_over_z(curves: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw, for each activation, the largest error in u over z: where the digits go.

    Args:
        curves: The rows of `curves.csv`.
    """
    bins = [name for name in curves.columns if _is_number(name)]
    z = np.arcsinh(np.array(bins, dtype=float))
    jitted: Any = curves[curves["execution"] == "jitted"]
    figures = {}
    for activation in dict.fromkeys(jitted["activation"]):
        figure = go.Figure()
        for row in jitted[jitted["activation"] == activation].to_dict("records"):
            way = (row["quantity"], row["method"])
            if way in _SWEEPS:
                errors = [float(row[name]) for name in bins]
                figure.add_trace(
                    go.Scatter(
                        x=z,
                        y=[_positive(error, _LEAST_U, 0.5 / FLOAT32.unit_roundoff**2) for error in errors],
                        customdata=[[float(name), error] for name, error in zip(bins, errors, strict=True)],
                        name=_sweep_name(*way),
                        mode="lines",
                        line=_SWEEPS[way],
                        hovertemplate="z ≈ %{customdata[0]:.3g}: %{customdata[1]:.3g} u<extra>%{fullData.name}</extra>",
                    )
                )
        figure.add_hline(y=1.0 / FLOAT32.unit_roundoff, line=_BOUND)
        figures[str(activation)] = _dressed(figure, "z", "error, u")
        figure.update_xaxes(tickvals=list(np.arcsinh(_TICKS)), ticktext=list(map(str, _TICKS)), zeroline=False)
        figure.update_yaxes(range=[-2.2, 8.2], dtick=2, tick0=0)
    return figures


def _line(values: Any, name: str, style: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=list(values.index),
        y=[_positive(value, _LEAST_U) for value in values],
        customdata=list(values),
        name=name,
        mode="lines+markers",
        line=style,
        marker={"size": 4},
        hovertemplate="%{customdata:.3g} u",
    )


def _dressed(figure: go.Figure, x: str, y: str, height: int = 240) -> go.Figure:
    """Leave background, text and rules to the page; plotly's own template is 7 KB in each figure."""
    axis = {"showgrid": True, "zeroline": False, "automargin": True, "fixedrange": True}
    figure.update_layout(
        template=None,
        height=height,
        showlegend=False,
        margin={"t": 8, "b": 8, "l": 8, "r": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
        hovermode="x unified",
    )
    figure.update_xaxes(title={"text": x, "standoff": 6}, **axis)
    return figure.update_yaxes(title=y, type="log", exponentformat="power", **axis)


def _decades(values: np.ndarray) -> dict[str, Any]:
    """Return the range and ticks of an axis that is to be the same in all charts: whole powers of ten."""
    shown = np.log10(np.maximum(values[np.isfinite(values)], 1.0)) if np.isfinite(values).any() else np.zeros(1)
    low, high = float(np.floor(shown.min())), float(np.ceil(shown.max() + 0.1))
    return {"range": [low - 0.15, high], "dtick": 1 if high - low <= 6 else 2, "tick0": 0}


def _thinned(depths: Sequence[int]) -> list[int]:
    """Return those of the depths that stand a fifth of an octave or more apart, so that their labels do not touch."""
    kept: list[int] = []
    span = np.log(max(depths[-1] / max(depths[0], 1), 1.0001))
    for depth in depths:
        if not kept or np.log(depth / max(kept[-1], 1)) > span / 12:
            kept.append(int(depth))
    return kept


def _positive(value: float, least: float, most: float = 1e300) -> float | None:
    """Return what a logarithmic axis can show of a number: infinity as the most, 0 as the least, NaN as a gap."""
    return None if np.isnan(value) else float(min(max(value, least), most))


def _sweep_name(quantity: str, method: str) -> str:
    return quantity if method == "primal" else f"{quantity}, {method}"


def _is_number(name: Any) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def embedded(figures: Iterable[go.Figure]) -> list[str]:
    """Return figures as JSON that may stand in a page's script."""
    return [str(figure.to_json()).replace("<", "\\u003c") for figure in figures]
