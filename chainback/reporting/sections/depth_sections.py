"""Sections on errors by depth and margins by ensemble, with charts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from chainback.reporting.sections.section import Charts, Section, Table
from chainback.reporting.text import number

__all__ = ["by_depth", "by_ensemble"]


def by_depth(tolerance: Any) -> list[Section]:
    """Return errors and bounds against depth, ensemble by ensemble; nothing where no batch was judged.

    Args:
        tolerance: The rows of `tolerance.csv`.
    """
    rows = _batched(tolerance)
    if rows.empty:
        return []
    table = []
    for (ensemble, depth), its in rows.groupby(["ensemble", "depth"]):
        by_engine = its.groupby("engine")
        figures = [np.nan if "error_u_p50" not in its else by_engine["error_u_p50"].max().median()]
        p99 = by_engine["error_u_p99"].max()
        figures += [p99.min(), p99.max(), its["error_u_max"].max()]
        figures += [its[name].max() if name in its else np.nan for name in ("bound_u_p50", "bound_u_p99", "margin_max")]
        table.append([str(ensemble), str(depth), f"{its['cases'].max():,}", *map(number, figures)])
    header = ("ensemble", "depth", "cases", "median u", "p99 u, best engine", "worst engine", "max u")
    header = (*header, "bound u, median", "bound u, p99", "margin")
    lead = (
        "The error in units of 2⁻²⁴ of the truth, u: of each engine the 99th percentile and, thinner, the median; the "
        "largest of any engine; and the bound, dashed, from its median to its 99th percentile. Of several widths the worst "
        "is shown. Where every component lies within its own bound, a quantile of the errors lies below the same quantile "
        "of the bounds; at 2²⁴ u every digit is lost. What leaves a chart at its top is larger still."
    )

    def draw(charts: Any) -> Charts:
        engines = list(dict.fromkeys(rows["engine"]))
        return Charts(charts.errors_by_depth(tolerance), charts.legend_of_engines(engines))

    return [Section("Error against depth", lead, folded=[Table(header, table)], draw=draw)]


def by_ensemble(tolerance: Any) -> list[Section]:
    """Return the largest margin of each engine on each ensemble; nothing where no batch was judged.

    Args:
        tolerance: The rows of `tolerance.csv`.
    """
    rows = _batched(tolerance)
    if rows.empty:
        return []
    engines = list(dict.fromkeys(rows["engine"]))
    largest = rows.groupby(["ensemble", "engine"])["margin_max"].max()
    ensembles = sorted(set(rows["ensemble"]))
    table = [[e, *(number(largest.get((e, name), np.nan)) for name in engines)] for e in ensembles]
    beyond = " What is above 10³ is drawn as 10³." if (largest > 1e3).any() else ""
    lead = f"The largest error / bound of each engine. A margin above 1 is a wrong gradient.{beyond}"

    def draw(charts: Any) -> Charts:
        return Charts({"": charts.margins_by_ensemble(tolerance)}, charts.legend_of_markers(engines))

    return [Section("Margins by ensemble", lead, folded=[Table(("ensemble", *engines), table)], draw=draw)]


def _batched(tolerance: Any) -> Any:
    if tolerance.empty:
        return pd.DataFrame()
    return tolerance[(tolerance["execution"] == "batched") & tolerance["margin_max"].notna()]
