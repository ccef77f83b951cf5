"""Panels: style and axes that the charts of pages have in common, and a chart as a picture by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

__all__ = ["GREY", "LEAST_U", "Legend", "as_picture", "decades", "fine", "minus", "positive", "styled", "ticks"]

#: Of what is no engine: the bound, and the largest error of any engine. It is seen on white and on black.
GREY = "#888888"
#: Below this an error in u is drawn as this: a logarithm has no place for 0.
LEAST_U = 0.1
#: An axis that spans no more decades than these has ticks at 2 and 5, too.
_FEW_DECADES = 2.0
#: Of a chart that stands by itself, pixels.
_PICTURE_WIDTH = 640

#: (name, colour, dash or marker) of what charts show.
Legend = list[tuple[str, str, str]]


def styled(figure: go.Figure, x: str, y: str, height: int = 240) -> go.Figure:
    """Style a chart: background, text and rules are left to the page, and plotly's own template is left out."""
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
    return figure.update_yaxes(title={"text": y, "standoff": 6}, type="log", **axis)


def decades(values: Any, least: float = LEAST_U) -> dict[str, Any]:
    """Return the range and ticks of a logarithmic axis that is to be the same in all charts: whole powers of ten."""
    numbers = np.asarray(values, dtype=float)
    powers = np.log10(np.maximum(numbers[np.isfinite(numbers)], least)) if np.isfinite(numbers).any() else np.zeros(1)
    low, high = int(np.floor(powers.min() + 1e-9)), int(np.ceil(powers.max() + 0.1))
    air = max(0.15, 0.05 * (high - low))
    return {"range": [low - air, high], **ticks(range(low, high + 1, 1 + (high - low) // 7), least)}


def fine(values: Any, least: float = 0.0) -> dict[str, Any]:
    """Return the range and ticks of a logarithmic axis that fits its values: at 1, 2 and 5 where they span little."""
    numbers = np.asarray(list(values), dtype=float)
    numbers = np.maximum(numbers[np.isfinite(numbers)], least)
    numbers = numbers[numbers > 0] if (numbers > 0).any() else np.ones(1)
    low, high = np.log10(numbers.min()), np.log10(numbers.max())
    if high - low > _FEW_DECADES:
        return decades(numbers, least)
    powers = range(int(np.floor(low)) - 1, int(np.ceil(high)) + 2)
    places = np.array([digit * 10.0**power for power in powers for digit in (1, 2, 5)])
    first = int(np.searchsorted(places, numbers.min() * 1.001)) - 1
    last = max(first + 1, int(np.searchsorted(places, numbers.max() * 0.999)))
    kept = places[first : last + 1]
    ends = np.log10(kept[[0, -1]])
    air = 0.03 * (ends[1] - ends[0])
    named = [f"{'≤ ' if place <= least * 1.001 else ''}{place:,.12g}" for place in kept]
    return {"range": [ends[0] - air, ends[1] + air], "tickvals": kept.tolist(), "ticktext": named}


def minus(value: float) -> str:
    """Write a number as an axis does, with a minus sign that is no hyphen."""
    return f"{value:g}".replace("-", "−")


def ticks(powers: Sequence[int], least: float = LEAST_U) -> dict[str, Any]:
    """Return ticks at powers of ten, written alike on all axes; the least one stands for all that is smaller."""
    names = {0: "1", 1: "10"}
    written = [names.get(p, "10" + str(p).translate(_RAISED)) for p in powers]
    named = ["≤ " + text if 10.0**p <= least * 1.001 else text for p, text in zip(powers, written, strict=True)]
    return {"tickvals": [10.0**p for p in powers], "ticktext": named}


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def positive(value: float, least: float, most: float = 1e300) -> float | None:
    """Return what a logarithmic axis can show of a number: infinity as the most, 0 as the least, NaN as a gap."""
    return None if np.isnan(value) else float(min(max(value, least), most))


def as_picture(chart: go.Figure, title: str) -> go.Figure:
    """Return a chart of a page as a picture by itself: with a title, a legend, black on white."""
    figure = go.Figure(chart)
    items = [*figure.data, *figure.layout.shapes]
    below = 50 + 18 * -(-len({item.name for item in items if item.name and item.showlegend is not False}) // 3)
    figure.update_layout(
        width=_PICTURE_WIDTH,
        height=int(figure.layout.height) + 20 + below,
        title={"text": title, "x": 0.5, "font": {"size": 15}},
        showlegend=True,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 11}},
        margin={"t": 40, "b": below, "l": 10, "r": 16},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"color": "#1c2024"},
    )
    figure.update_layout(legend={"traceorder": "normal", "x": 0})
    rules: Any = {"gridcolor": "#e3e6ea", "linecolor": "#e3e6ea"}
    return figure.update_xaxes(**rules).update_yaxes(**rules)
