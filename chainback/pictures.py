"""Pictures, drawn by plotly: as interactive HTML that needs no network, and as SVG or PNG where a Chrome is at hand."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from plotly.subplots import make_subplots

from chainback.errors import ChainbackError, UsageError
from chainback.judgement import Verdict
from chainback.report import write_text

__all__ = ["draw_history", "draw_lecture", "draw_matrices", "field_of_bits", "line_styles", "save", "save_all"]

#: A hue for each mode of differentiation, a dash for each way to write it.
#: Source: Okabe and Ito (2008), with a lighter blue, for dark pages.
_HUES = {"forward": "#E69F00", "reverse": "#2A8FD8", "triangular": "#009E73"}
#: A matrix of more columns than this is drawn without its numbers.
_MOST_WRITTEN = 16
#: Pixels from one matrix to the next; more where the names of the columns stand upright.
_BETWEEN, _BETWEEN_WIDE = 66, 105
_DASHES = ("solid", "dash", "dot", "dashdot")


def draw_history(engines: pd.DataFrame) -> go.Figure:
    """Draw what happened to each engine from version to version: errors, bits, speed.

    Args:
        engines: The rows of a history's `engines.csv`.
    """
    versions, names = list(dict.fromkeys(engines["jax"])), list(dict.fromkeys(engines["engine"]))
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.07,
        row_heights=[0.36, 0.28, 0.36],
        subplot_titles=(
            "root mean square error, u (median over ensembles and shapes)",
            "bits: a colour for each distinct result; ✕ rejected",
            "ns a layer and case, batched",
        ),
    )
    styles = line_styles(names)
    for name in names:
        rows = engines[engines["engine"] == name].set_index("jax").reindex(versions)
        line: dict[str, Any] = {"x": versions, "mode": "lines+markers", "name": name, "legendgroup": name}
        line |= {"line": styles[name], "marker": {"size": 5}}
        figure.add_trace(go.Scatter(y=rows["error_u_rms"], **line), row=1, col=1)
        figure.add_trace(go.Scatter(y=rows["run_ns_per_layer"], showlegend=False, **line), row=3, col=1)
    figure.add_trace(field_of_bits(engines, versions, names), row=2, col=1)
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_yaxes(type="log", row=3, col=1)
    figure.update_xaxes(title="jax", row=3, col=1)
    figure.update_layout(template="plotly_white", height=900, width=1000, margin={"t": 40, "b": 50, "l": 60, "r": 20})
    figure.update_layout(legend={"orientation": "h", "y": -0.08})
    return figure


def draw_lecture(
    drift: pd.DataFrame, depth: pd.DataFrame, layers: pd.DataFrame, approximations: pd.DataFrame
) -> go.Figure:
    """Draw the lecture: both examples, the drift by rounding, the gradients by layer, the errors by depth.

    Args:
        drift: The distance of each engine's parameters from float64's, by updates.
        depth: The final error by depth and step size.
        layers: The gradient's norm by depth and layer.
        approximations: The examples' targets and predictions.
    """
    titles = (
        "Example 1: −3x + 2",
        "Example 2: log x",
        "drift of the parameters from float64",
        "gradient norm by layer",
    )
    figure = make_subplots(rows=3, cols=2, subplot_titles=(*titles, "final mean squared error by depth"))
    for column, (_, rows) in enumerate(approximations.groupby("target", sort=False), start=1):
        for number, points in rows.groupby("depth"):
            figure.add_trace(go.Scatter(x=points["x"], y=points["predicted"], name=f"N = {number}"), row=1, col=column)
        first = rows.drop_duplicates("x")
        line = {"color": "black", "dash": "dot"}
        figure.add_trace(go.Scatter(x=first["x"], y=first["wanted"], name="target", line=line), row=1, col=column)
    styles = line_styles(list(dict.fromkeys(drift["engine"])))
    for name, rows in drift.groupby("engine", sort=False):
        line = styles[str(name)]
        figure.add_trace(go.Scatter(x=rows["updates"], y=rows["distance"], name=str(name), line=line), row=2, col=1)
    for number, rows in layers.groupby("depth"):
        figure.add_trace(go.Scatter(x=rows["layer"], y=rows["gradient_norm"], name=f"N = {number}"), row=2, col=2)
    for step, rows in depth.groupby("step"):
        line = {"x": rows["depth"], "y": rows["mean_squared_error"], "name": f"step {step:g}"}
        figure.add_trace(go.Scatter(**line), row=3, col=1)
    for row, column in ((2, 1), (2, 2), (3, 1)):
        figure.update_yaxes(type="log", exponentformat="power", row=row, col=column)
    return figure.update_layout(template="plotly_white", height=1100, width=1100)


def line_styles(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the colour and the dash of each engine's line."""
    styles: dict[str, dict[str, str]] = {}
    seen: dict[str, dict[str, int]] = {}
    platforms: dict[str, int] = {}
    for name in names:
        engine, _, platform = name.partition("@")
        mode = engine.partition("-")[0]
        written = seen.setdefault(mode, {})
        dash = _DASHES[written.setdefault(engine, len(written)) % len(_DASHES)]
        shade = platforms.setdefault(platform, len(platforms))
        styles[name] = {"color": _darker(_HUES.get(mode, "#CC79A7"), shade), "dash": dash}
    return styles


def _darker(colour: str, shade: int) -> str:
    """Return a colour, darker by a third for each platform before."""
    return "#" + "".join(f"{int(int(colour[i : i + 2], 16) * (2 / 3) ** shade):02X}" for i in (1, 3, 5))


def field_of_bits(engines: pd.DataFrame, versions: Sequence[str], names: Sequence[str]) -> go.Heatmap:
    """Number the distinct digests of each engine in the order of their appearance."""
    places, marks = np.full((len(names), len(versions)), np.nan), np.full((len(names), len(versions)), "", object)
    for i, name in enumerate(names):
        seen: dict[str, int] = {}
        rows = engines[engines["engine"] == name].set_index("jax")
        for j, version in enumerate(versions):
            if version in rows.index:
                places[i, j] = seen.setdefault(str(rows.loc[version, "digest"]), len(seen))
                marks[i, j] = "✕" if rows.loc[version, "verdict"] == str(Verdict.REJECTED) else ""
    return go.Heatmap(
        x=list(versions),
        y=list(names),
        z=places,
        text=marks,
        texttemplate="%{text}",
        colorscale="Cividis",
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="%{y}, jax %{x}: result %{z}<extra></extra>",
    )


def draw_matrices(matrices: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Draw matrices as fields of colour, one below the other: red is negative, blue is positive, zero is left blank.

    The colour follows arsinh, so that small entries are seen beside large ones; entries of small matrices are written out.

    Args:
        matrices: By their titles; rows and columns are named by index and columns.
    """
    tall = [len(matrix) for matrix in matrices.values()]
    cell = 26 if sum(tall) <= 60 else 13
    between = _BETWEEN if all(matrix.shape[1] <= _MOST_WRITTEN for matrix in matrices.values()) else _BETWEEN_WIDE
    height = cell * sum(tall) + between * (len(tall) - 1)
    figure = make_subplots(
        rows=len(matrices),
        cols=1,
        subplot_titles=list(matrices),
        row_heights=[rows / sum(tall) for rows in tall],
        vertical_spacing=between / height,
    )
    for place, matrix in enumerate(matrices.values(), start=1):
        values = matrix.to_numpy(dtype=float)
        shown = np.where(values == 0, np.nan, np.arcsinh(values))
        most = float(np.nanmax(np.abs(shown), initial=1e-30))
        fits = values.shape[1] <= _MOST_WRITTEN
        heatmap = go.Heatmap(
            x=[str(name) for name in matrix.columns],
            y=[str(name) for name in matrix.index],
            z=shown,
            zmin=-most,
            zmax=most,
            customdata=values,
            text=[["" if value == 0 else f"{value:.3g}" for value in row] for row in values],
            texttemplate="%{text}" if fits else None,
            colorscale="RdBu",
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="row %{y}, column %{x}: %{customdata:.9g}<extra></extra>",
        )
        figure.add_trace(heatmap, row=place, col=1)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    figure.update_xaxes(type="category", showgrid=False, tickangle=0 if between == _BETWEEN else None)
    figure.update_annotations(font_size=14)
    margin = {"t": 40, "b": 40, "l": 20, "r": 20}
    figure.update_layout(template="plotly_white", height=height + 80, width=900, margin=margin)
    return figure


def save(figure: go.Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture: .html by itself, .svg or .png by plotly's exporter, which needs a Chrome.

    Raises:
        ChainbackError: The exporter, or the browser that it needs, is not there.
        UsageError: The file cannot be written.
    """
    target = Path(path)
    if target.suffix == ".html":
        write_text(target, figure.to_html(include_plotlyjs=True, full_html=True))
    else:
        save_all({target: figure})


def save_all(pictures: Mapping[Path, go.Figure]) -> None:
    """Write pictures of one folder as .svg or .png by plotly's exporter, all by one browser, and all or none.

    Raises:
        ChainbackError: The exporter, or the browser that it needs, is not there.
        UsageError: A file is neither, or cannot be written.
    """
    targets, figures = list(pictures), list(pictures.values())
    first = targets[0]
    if wrong := [path.name for path in targets if path.suffix not in (".svg", ".png")]:
        raise UsageError(f"cannot draw {wrong[0]}: a picture ends in .html, .svg or .png")
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".chainback.", dir=first.parent) as place:
            drawn = [Path(place) / path.name for path in targets]
            _export(figures, drawn, first.name)
            for picture, path in zip(drawn, targets, strict=True):
                os.replace(picture, path)
    except OSError as error:
        raise UsageError(f"cannot write {first}: {error.strerror}: choose a place that can be written") from None


def _export(figures: Sequence[go.Figure], files: Sequence[Path], name: str) -> None:
    if importlib.util.find_spec("kaleido") is None:
        raise ChainbackError(f"cannot draw {name}: kaleido is not there: pip install 'chainback[pictures]'")
    sizes = {side: [figure.layout[side] for figure in figures] for side in ("width", "height")}
    try:
        plotly.io.write_images(list(figures), list(files), **sizes)
    except Exception as error:  # whatever exporter and browser may raise
        raise ChainbackError(
            f"cannot draw {name}: {_first_words(error)}: install Chrome or Chromium, or ask for .html"
        ) from None
    if not all(file.exists() for file in files):
        raise ChainbackError(f"cannot draw {name}: plotly's exporter gave no picture: ask for .html")


def _first_words(error: BaseException) -> str:
    """Return the first line of what an exporter's exception says, which may begin with an empty one, or be a tuple."""
    said: Any = error.args
    while isinstance(said, tuple) and said:
        said = said[0]
    return next(filter(None, map(str.strip, str(said).splitlines())), type(error).__name__).rstrip(".")
