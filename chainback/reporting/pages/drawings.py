"""Pictures by plotly: interactive HTML that needs no network, and SVG or PNG where a Chrome is installed."""

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
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from chainback.errors import ChainbackError, UsageError
from chainback.judging.judgement import Verdict
from chainback.reporting.files import write_text

__all__ = ["draw_history", "draw_lecture", "draw_matrices", "field_of_bits", "line_styles", "save", "save_all"]

#: A hue for each mode of differentiation, a dash for each way to write it.
#: Source: Okabe and Ito (2008), with a lighter blue, for dark pages.
_HUES = {"forward": "#E69F00", "reverse": "#2A8FD8", "triangular": "#009E73"}
#: A matrix of more columns than this is drawn without its numbers.
_MOST_WRITTEN = 24
#: Pixels of a row; where there are many, half of them.
_CELL = 26
#: Pixels that a column with its numbers takes, and those that names of rows and margins take.
_COLUMN, _ASIDE = 58, 190
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
        "Drift of the parameters from float64's",
        "Norm of the gradient by layer",
        "Final mean squared error by depth",
    )
    specs: Any = [[{}, {}], [{}, {}], [{"colspan": 2}, None]]
    spaces: dict[str, Any] = {"horizontal_spacing": 0.27, "vertical_spacing": 0.1}
    figure = make_subplots(rows=3, cols=2, subplot_titles=titles, specs=specs, **spaces)
    hues = _by_depth(sorted({*approximations["depth"], *layers["depth"]}))
    for column, (_, rows) in enumerate(approximations.groupby("target", sort=False), start=1):
        first = rows.drop_duplicates("x")
        _draw(figure, 1, column, "target", first["x"], first["wanted"], {"color": "black", "dash": "dot"})
        for number, points in rows.groupby("depth"):
            _draw(figure, 1, column, f"N = {number}", points["x"], points["predicted"], hues[number])
    styles = line_styles(list(dict.fromkeys(drift["engine"])))
    for name, rows in drift.groupby("engine", sort=False):
        _draw(figure, 2, 1, str(name), rows["updates"], rows["distance"], styles[str(name)])
    for number, rows in layers.groupby("depth"):
        _draw(figure, 2, 2, f"N = {number}", rows["layer"], rows["gradient_norm"], hues[number])
    for place, (step, rows) in enumerate(depth.groupby("step")):
        style = {"color": _STEPS[place % len(_STEPS)], "dash": _DASHES[place % len(_DASHES)]}
        _draw(figure, 3, 1, f"step {step:g}", rows["depth"], rows["mean_squared_error"], style)
    axes = (("x", "ŷ"), ("x", "ŷ"), ("updates", "distance"), ("layer", "norm"), ("depth N", "error"))
    for place, (x, y) in enumerate(axes):
        row, column = place // 2 + 1, place % 2 + 1
        figure.update_xaxes(title={"text": x, "standoff": 6}, row=row, col=column)
        figure.update_yaxes(title={"text": y, "standoff": 6}, row=row, col=column)
        if place >= 2:
            figure.update_yaxes(type="log", exponentformat="power", dtick=_DECADES[place - 2], row=row, col=column)
    margin = {"t": 50, "b": 50, "l": 70, "r": 130}
    return figure.update_layout(template="plotly_white", height=1000, width=1100, margin=margin)


#: Decades from tick to tick of the lecture's logarithmic axes, each in its order.
_DECADES = (1, 4, 3)
#: Of the lecture's step sizes.
_STEPS = ("#009E73", "#2A8FD8", "#E69F00", "#D55E00")


def _by_depth(depths: Sequence[int]) -> dict[Any, dict[str, Any]]:
    """Return a line for each depth, from blue to red: the same wherever that depth is drawn."""
    hues = sample_colorscale("Turbo", [0.05 + 0.9 * place / max(1, len(depths) - 1) for place in range(len(depths))])
    return {number: {"color": hue} for number, hue in zip(depths, hues, strict=True)}


def _draw(figure: go.Figure, row: int, column: int, name: str, x: Any, y: Any, line: dict[str, Any]) -> None:
    """Draw a line in a part of a figure; each part has a legend of its own, to its right."""
    part: Any = figure.get_subplot(row, column)
    legend = f"legend{2 * row + column - 2 if row > 1 or column > 1 else ''}"
    mode = "lines+markers" if len(x) <= _FEW_POINTS else "lines"
    trace = go.Scatter(x=x, y=y, name=name, line=line, mode=mode, marker={"size": 5}, legend=legend)
    figure.add_trace(trace, row=row, col=column)
    place = {"x": part.xaxis.domain[1] + 0.01, "y": part.yaxis.domain[1], "xanchor": "left", "yanchor": "top"}
    figure.update_layout({legend: {**place, "font": {"size": 11}}})


#: A line of more points than this is drawn without them.
_FEW_POINTS = 25


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
    cell = _CELL if sum(tall) <= 60 else _CELL / 2
    broadest = max(matrix.shape[1] for matrix in matrices.values())
    between = _BETWEEN if broadest <= _MOST_WRITTEN else _BETWEEN_WIDE
    width = max(900, _ASIDE + _COLUMN * min(broadest, _MOST_WRITTEN))
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
        colours = np.where(values == 0, np.nan, np.arcsinh(values))
        most = float(np.nanmax(np.abs(colours), initial=1e-30))
        fits = values.shape[1] <= _MOST_WRITTEN
        heatmap = go.Heatmap(
            x=[str(name) for name in matrix.columns],
            y=[str(name) for name in matrix.index],
            z=colours,
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
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True, dtick=1)
    figure.update_yaxes(tickfont_size=12 if cell == _CELL else 10)
    figure.update_xaxes(type="category", showgrid=False, tickangle=0 if between == _BETWEEN else None)
    figure.update_annotations(font_size=14)
    margin = {"t": 40, "b": 40, "l": 20, "r": 20}
    figure.update_layout(template="plotly_white", height=height + 80, width=width, margin=margin)
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
            made = [Path(place) / path.name for path in targets]
            _export(figures, made, first.name)
            for picture, path in zip(made, targets, strict=True):
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
    """Return the first line of an exporter's exception, whose message may begin with an empty line or be a tuple."""
    message: Any = error.args
    while isinstance(message, tuple) and message:
        message = message[0]
    return next(filter(None, map(str.strip, str(message).splitlines())), type(error).__name__).rstrip(".")
