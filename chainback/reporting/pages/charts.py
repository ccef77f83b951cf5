"""The charts of a report's page and of a comparison's, by plotly, from their rows: small ones, one for each subject.

Colours of text and rules are left to the page, which has them light, dark and in print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from chainback.operations.arithmetic import FLOAT32
from chainback.reporting.pages.drawings import field_of_bits, line_styles, save_all
from chainback.reporting.pages.panels import (
    GREY,
    LEAST_U,
    Legend,
    as_picture,
    decades,
    fine,
    minus,
    positive,
    styled,
    ticks,
)
from chainback.reporting.text import is_number

__all__ = [
    "as_picture",
    "bits",
    "by_version",
    "errors_by_depth",
    "errors_over_z",
    "legend_of_changes",
    "legend_of_engines",
    "legend_of_markers",
    "legend_of_sweeps",
    "margins_by_ensemble",
    "old_against_new",
    "save_all",
]

_BOUND = {"color": GREY, "dash": "dash", "width": 2}
_BOUND_MEDIAN = {"color": GREY, "dash": "dash", "width": 1}
_LARGEST = {"color": GREY, "dash": "dot", "width": 1.5}
#: Lines may lie upon each other: those drawn first are broader.
_WIDTHS = {"forward": 5.0, "reverse": 3.2}
_WIDTH = 1.6
#: How far a level line reaches to either side of its depth, as a factor.
_HALF_WIDTH = 1.5
#: What stands for a dash where there is no line.
_MARKERS = {"solid": "circle", "dash": "diamond", "dot": "square", "dashdot": "triangle-up"}
#: By quantity and method of a sweep.
_SWEEPS = {
    ("value", "primal"): {"color": "#CC79A7", "dash": "solid", "width": 2},
    ("slope", "forward"): {"color": "#E69F00", "dash": "solid", "width": 4},
    ("slope", "reverse"): {"color": "#2A8FD8", "dash": "dash", "width": 2},
    ("slope", "closed form"): {"color": "#009E73", "dash": "dot", "width": 2},
}
#: Of a comparison's rows: colour and marker by what became of them. What is worse is drawn last.
_CHANGES = {
    "identical": (GREY, "circle"),
    "within bound": ("#2A8FD8", "circle"),
    "mended": ("#009E73", "diamond"),
    "drifted": ("#E69F00", "square"),
    "other": ("#CC79A7", "square"),
    "worse": ("#D55E00", "triangle-up"),
}
_TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
#: Below and above this a margin is drawn as this.
_MARGINS = (1e-3, 1e3)
#: No chart of errors against depth is higher than this: one absurd error would press all others flat.
_TOP_U = 1e9
#: Above this an error in u is drawn as this, where 2²⁴ is every digit.
_MOST_U = 1e12


def legend_of_engines(engines: Sequence[str]) -> Legend:
    """Return (name, colour, dash) of each engine, and of the lines that are none."""
    styles = line_styles(engines)
    names = [(name, styles[name]["color"], styles[name]["dash"]) for name in engines]
    return [*names, ("largest of any engine", GREY, "dot"), ("bound", GREY, "dash")]


def legend_of_markers(engines: Sequence[str]) -> Legend:
    """Return (name, colour, marker) of each engine, and the line of the bound."""
    styles = line_styles(engines)
    return [
        *((name, styles[name]["color"], _MARKERS[styles[name]["dash"]]) for name in engines),
        ("bound", GREY, "dash"),
    ]


def legend_of_sweeps() -> Legend:
    """Return (name, colour, dash) of each way to measure an activation, and of the line where nothing is right."""
    ways = [(_sweep_name(*way), style["color"], style["dash"]) for way, style in _SWEEPS.items()]
    return [*ways, ("every digit lost", GREY, "dash")]


def legend_of_changes(rows: pd.DataFrame) -> Legend:
    """Return (name, colour, marker) of what became of a comparison's rows."""
    kinds = {_kind_of_change(row) for row in rows.to_dict("records")}
    return [(name, *style) for name, style in _CHANGES.items() if name in kinds]


def errors_by_depth(tolerance: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw, for each ensemble, quantiles of the error in u against depth, with the same quantiles of the bound.

    Args:
        tolerance: The rows of `tolerance.csv`; of several widths the worst is drawn. Reports from before there were medians
            of the error and 99th percentiles of the bound are drawn without them.
    """
    rows: Any = tolerance[tolerance["execution"] == "batched"]
    engines = list(dict.fromkeys(rows["engine"]))
    styles, figures = line_styles(engines), {}
    statistics = [name for name in ("error_u_p50", "error_u_p99", "error_u_max") if name in rows]
    axis = decades(rows[statistics].clip(upper=_TOP_U))
    for ensemble in sorted(set(rows["ensemble"])):
        its = rows[rows["ensemble"] == ensemble]
        by_depth, figure = its.groupby("depth"), go.Figure()
        for column, name, line, fill in (
            ("bound_u_p50", "bound (median)", _BOUND_MEDIAN, None),
            ("bound_u_p99", "bound (99 %)", _BOUND, "tonexty"),
        ):
            if column in its:
                figure.add_trace(_line(by_depth[column].max(), name, line))
                figure.data[-1].update(fill=fill, fillcolor="rgba(136,136,136,0.15)")
        for name in engines:
            one = its[its["engine"] == name].groupby("depth")
            broad = {**styles[name], "width": _WIDTHS.get(name.partition("-")[0], _WIDTH)}
            figure.add_trace(_line(one["error_u_p99"].max(), name, broad))
            if "error_u_p50" in its:
                thin = {**styles[name], "width": broad["width"] / 2}
                median = _line(one["error_u_p50"].max(), f"{name} (median)", thin)
                figure.add_trace(median.update(opacity=0.55, showlegend=False, mode="lines"))
        figure.add_trace(_line(by_depth["error_u_max"].max(), "largest of any engine", _LARGEST))
        figures[str(ensemble)] = styled(figure, "depth", "error, u").update_yaxes(**axis)
        depths = sorted(set(its["depth"]))
        if len(depths) == 1:
            _level(figure)
        figure.update_xaxes(type="log", tickvals=_thinned(depths), ticktext=[str(d) for d in _thinned(depths)])
    return figures


def margins_by_ensemble(tolerance: pd.DataFrame) -> go.Figure:
    """Draw the largest margin (error / bound) of each engine on each ensemble; 1 is the bound."""
    rows: Any = tolerance[tolerance["execution"] == "batched"]
    engines, ensembles = list(dict.fromkeys(rows["engine"])), sorted(set(rows["ensemble"]), reverse=True)
    largest = rows.groupby(["engine", "ensemble"])["margin_max"].max()
    styles, figure = line_styles(engines), go.Figure()
    for place, name in enumerate(engines):
        shift = 0.7 * (0.5 - (place + 0.5) / len(engines))
        margins = [float(largest.get((name, ensemble), np.nan)) for ensemble in ensembles]
        figure.add_trace(
            go.Scatter(
                x=[positive(margin, *_MARGINS) for margin in margins],
                y=[i + shift for i in range(len(ensembles))],
                customdata=margins,
                text=ensembles,
                name=name,
                mode="markers",
                marker={"color": styles[name]["color"], "symbol": _MARKERS[styles[name]["dash"]], "size": 7},
                hovertemplate="%{text}: %{customdata:.3g}<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_vline(x=1.0, line=_BOUND, name="bound", showlegend=True)
    styled(figure, "largest error / bound", "", height=60 + max(34 * len(ensembles), 9 * len(engines)))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="log", **fine([*largest.clip(*_MARGINS), 1.0], _MARGINS[0]))
    return figure.update_yaxes(type="linear", tickvals=list(range(len(ensembles))), ticktext=ensembles, zeroline=False)


def errors_over_z(curves: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw, for each activation, the largest error in u over z: where the digits go.

    Args:
        curves: The rows of `curves.csv`.
    """
    bins = [name for name in curves.columns if is_number(name)]
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
                        y=[positive(error, LEAST_U, 0.5 / FLOAT32.unit_roundoff**2) for error in errors],
                        customdata=[[float(name), error] for name, error in zip(bins, errors, strict=True)],
                        name=_sweep_name(*way),
                        mode="lines",
                        line=_SWEEPS[way],
                        hovertemplate="z ≈ %{customdata[0]:.3g}: %{customdata[1]:.3g} u<extra>%{fullData.name}</extra>",
                    )
                )
        figure.add_hline(y=1.0 / FLOAT32.unit_roundoff, line=_BOUND, name="every digit lost", showlegend=True)
        figures[str(activation)] = styled(figure, "z", "error, u")
        figure.update_xaxes(tickvals=list(np.arcsinh(_TICKS)), ticktext=[minus(z) for z in _TICKS], zeroline=False)
        figure.update_xaxes(tickangle=0, tickfont_size=10)
        figure.update_yaxes(range=[-1.2, 8.2], **ticks([-1, 0, 2, 4, 6, 8]))
    return figures


def old_against_new(rows: pd.DataFrame, figure_of: str) -> dict[str, go.Figure]:
    """Draw, for each table of a comparison, a point for each row: a figure's old value, and its new one.

    Args:
        rows: The rows of `comparison.csv`.
        figure_of: "margin_max" or "error_u_rms".
    """
    is_margin = figure_of == "margin_max"
    least, most = _MARGINS if is_margin else (LEAST_U, _MOST_U)
    figures = {}
    for table in dict.fromkeys(rows["table"]):
        its: Any = rows[(rows["table"] == table) & rows[[f"{figure_of}_old", f"{figure_of}_new"]].notna().all(axis=1)]
        if not len(its) or (its["outcome"] == "identical").all():
            continue
        old, new = (its[f"{figure_of}_{side}"].clip(least, most).to_numpy(dtype=float) for side in ("old", "new"))
        kinds = np.array([_kind_of_change(row) for row in its.to_dict("records")])
        figure = go.Figure()
        for kind, (colour, marker) in _CHANGES.items():
            chosen = np.flatnonzero(kinds == kind)
            if len(chosen):
                figure.add_trace(
                    go.Scatter(
                        x=list(old[chosen]),
                        y=list(new[chosen]),
                        text=[str(name) for name in its["row"].to_numpy()[chosen]],
                        name=kind,
                        mode="markers",
                        marker={"color": colour, "symbol": marker, "size": 5 if kind == "identical" else 8},
                        opacity=0.4 if kind == "identical" else 0.9,
                        hovertemplate="%{text}: %{x:.3g} → %{y:.3g}<extra>%{fullData.name}</extra>",
                    )
                )
        low, high = (float(how([how(old), how(new)])) for how in (np.min, np.max))
        figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=_LARGEST, layer="below")
        if is_margin and high > 1.0:
            figure.add_hline(y=1.0, line=_BOUND, name="bound", showlegend=True)
        unit = "largest error / bound" if is_margin else "root mean square error, u"
        styled(figure, f"{unit}, old", "new", height=300).update_layout(hovermode="closest")
        figure.update_yaxes(**decades(its[[f"{figure_of}_old", f"{figure_of}_new"]].clip(least, most), least))
        figure.update_xaxes(
            type="log", **decades(its[[f"{figure_of}_old", f"{figure_of}_new"]].clip(least, most), least)
        )
        figures[str(table)] = figure
    return figures


def by_version(engines: pd.DataFrame, column: str, name: str) -> go.Figure:
    """Draw one figure of each engine under version after version.

    Args:
        engines: The rows of a history's `engines.csv`.
        column: Which.
        name: Of the axis.
    """
    names, versions = list(dict.fromkeys(engines["engine"])), list(dict.fromkeys(engines["jax"]))
    styles, figure = line_styles(names), go.Figure()
    for engine in names:
        values = engines[engines["engine"] == engine].set_index("jax")[column].reindex(versions)
        figure.add_trace(_line(values, engine, styles[engine], ""))
    styled(figure, "jax", name, height=300).update_xaxes(type="category")
    return figure.update_yaxes(**fine(engines[column]))


def bits(engines: pd.DataFrame) -> go.Figure:
    """Draw the distinct results of each engine under version after version.

    Args:
        engines: The rows of a history's `engines.csv`.
    """
    names, versions = list(dict.fromkeys(engines["engine"])), list(dict.fromkeys(engines["jax"]))
    figure = go.Figure(field_of_bits(engines, versions, names))
    styled(figure, "jax", "", height=60 + 28 * len(names)).update_layout(hovermode="closest")
    return figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed")


def _kind_of_change(row: dict[Any, Any]) -> str:
    return "worse" if row["worse"] else row["outcome"] if row["outcome"] in _CHANGES else "other"


def _line(values: Any, name: str, style: dict[str, Any], unit: str = " u") -> go.Scatter:
    return go.Scatter(
        x=list(values.index),
        y=[positive(value, LEAST_U) for value in values],
        customdata=list(values),
        name=name,
        mode="lines+markers",
        line=style,
        marker={"size": 4},
        hovertemplate="%{customdata:.3g}" + unit,
    )


def _level(figure: go.Figure) -> None:
    """Draw the figures of one depth as level lines, so that colours and dashes tell them apart as everywhere else."""
    traces: Any = figure.data
    for trace in traces:
        ends = [depth * factor for depth in trace.x for factor in (1.0 / _HALF_WIDTH, 1.0, _HALF_WIDTH)]
        trace.update(x=ends, y=list(trace.y) * 3, customdata=list(trace.customdata) * 3, mode="lines")
    figure.update_layout(hovermode="closest")


def _thinned(depths: Sequence[int]) -> list[int]:
    """Return those of the depths that stand a fifth of an octave or more apart, so that their labels do not touch."""
    kept: list[int] = []
    span = np.log(max(depths[-1] / max(depths[0], 1), 1.0001))
    for depth in depths:
        if not kept or np.log(depth / max(kept[-1], 1)) > span / 12:
            kept.append(int(depth))
    return kept


def _sweep_name(quantity: str, method: str) -> str:
    return quantity if method == "primal" else f"{quantity}, {method}"
