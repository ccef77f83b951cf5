"""Sections on functions by themselves: activations over z, elementary functions at points where they are hard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainback.judging.judgement import Verdict
from chainback.operations.arithmetic import FLOAT32
from chainback.reporting.rows import Row, figure, grouped, records
from chainback.reporting.schema import KEYS
from chainback.reporting.sections.row_groups import RowGroup, section_of
from chainback.reporting.sections.section import MOST_ROWS, Charts, Section, Table
from chainback.reporting.text import is_number, number

__all__ = ["activations", "functions"]

#: How many rows are listed where none is rejected.
_FEW = 12
#: An error in u by which half of the digits are lost.
_HALF = 1.0 / FLOAT32.unit_roundoff**0.5


def activations(frame: Any, curves: Any) -> Section:
    """Return what the sweeps of activations found, with their curves.

    Args:
        frame: The rows of `activations.csv`.
        curves: The rows of `curves.csv`.
    """
    found = records(frame)
    section = section_of("Activations alone", RowGroup("activation sweeps", found))
    if not found:
        return section
    half = {tuple(row[key] for key in KEYS["activations"]): _half_lost(row) for row in records(curves)}
    rows = []
    for row in found:
        if row["execution"] == "jitted" or row["verdict"] != str(Verdict.ACCEPTED):
            facts = [number(row.get(name, np.nan)) for name in ("margin_max", "error_u_max")]
            facts += [number(row.get("error_u_max_z", np.nan)) if row.get("error_u_max") else "–"]
            facts += [half.get(tuple(row[key] for key in KEYS["activations"]), "–")]
            facts += [f"{figure(row, 'lost_everything'):,.0f}"]
            name = f"{row['quantity']}, {row['method']}, {row['execution']}"
            rows.append([row["activation"], name, *facts, row["verdict"]])
    header = ("activation", "measured", "margin", "max u", "at z", "half the digits lost at z")
    header = (*header, "points without any digit", "verdict")
    lead = (
        "The largest error by z (on a scale of arsinh z), where the truth is a normal number. The dashed line is 2²⁴ u: "
        "every digit is lost; 2¹² u are half of them. A loss that follows from the rule by which a value is computed lies "
        "within its bound."
    )

    def draw(charts: Any) -> Charts:
        return Charts(charts.errors_over_z(curves), charts.legend_of_sweeps())

    return replace(section, lead=lead, folded=[Table(header, rows)], draw=draw if len(curves) else None)


def _half_lost(row: dict[str, Any]) -> str:
    """Return in which bins of z half of the digits or more are lost, as "−104 … −9.1, 9.1 … 104"."""
    spans: list[list[str]] = []
    before = False
    for name, error in row.items():
        if not is_number(name):
            continue
        now = float(error) >= _HALF
        if now and before:
            spans[-1][1:] = [name]
        elif now:
            spans.append([name])
        before = now
    return ", ".join(" … ".join(f"{float(z):.3g}" for z in span) for span in spans) or "–"


def functions(frame: Any) -> Section:
    """Return what the sweeps of elementary functions found.

    Args:
        frame: The rows of `functions.csv`.
    """
    found = records(frame)
    mended = ", ".join(_mended(found))
    sentences = [f"Known to be wrong in some versions of JAX, and right in this one: {mended}."] if mended else []
    section = section_of("Elementary functions", RowGroup("functions", found), sentences=sentences)
    if not found:
        return section
    rows = [row for row in found if row["verdict"] in (str(Verdict.REJECTED), str(Verdict.ACCEPTED))]
    rows.sort(key=lambda row: (row["verdict"] != str(Verdict.REJECTED), -figure(row, "margin_max")))
    rejected = sum(row["verdict"] == str(Verdict.REJECTED) for row in rows)
    listed = []
    for row in rows[: max(_FEW, min(rejected, MOST_ROWS))]:
        what = ", ".join(str(row[name]) for name in ("quantity", "argument", "method", "execution") if row.get(name))
        figures = (number(row["margin_max"]), number(row.get("error_u_max", np.nan)))
        listed.append([row["function"], what, *figures, number(row.get("worst_x", np.nan), exact=True), row["verdict"]])
    counts = frame["verdict"].value_counts()
    lead = f"Of {len(found):,} rows of functions.csv: "
    lead += ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) + "."
    if str(Verdict.KNOWN) in counts:
        lead += " Known is what is wrong there in a released JAX, too; the note of its row says how."
    header = ("function", "measured", "margin", "max u", "worst x", "verdict")
    table = Table(header, listed, "Rejected, and closest to their bound" if rejected else "Closest to their bound")
    return replace(section, lead=lead, **{"tables" if rejected else "folded": [table]})


def _mended(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the functions of which no known fault shows any more."""
    for function, its in grouped(rows, "function").items():
        mended = any(str(row["note"]).startswith("mended") for row in its)
        if mended and {row["verdict"] for row in its} == {str(Verdict.ACCEPTED)}:
            yield function
