"""What a report says, in sections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from chainback.judging.judgement import Verdict
from chainback.operations.arithmetic import FLOAT32
from chainback.reporting.pages.sections import MOST, Section, Table, embedded, is_number, said
from chainback.reporting.report import COLUMNS, Report
from chainback.reporting.schema import KEYS, records
from chainback.reporting.text import number, replay_command

__all__ = ["report_sections"]

#: How many rows a table of the worst shows.
_WORST = 12
#: An error in u by which half of the digits are lost.
_HALF = 1.0 / FLOAT32.unit_roundoff**0.5


def report_sections(report: Report, charts: Any) -> list[Section]:
    """Return the sections of a report's page, without those that have nothing to say.

    Args:
        report: The report.
        charts: The module that draws, or None.
    """
    made = (
        _engines(report),
        _worst(report),
        _by_depth(report.tolerance, charts),
        _by_ensemble(report.tolerance, charts),
        _agreement(report.agreement),
        _steps(report.steps),
        _activations(report, charts),
        _functions(report.functions),
        _environment(report.environment),
    )
    return [section for section in made if section is not None]


def _engines(report: Report) -> Section | None:
    _, rows, _ = report.told()
    return Section("Engines", report.caption, [Table(COLUMNS, rows)]) if rows else None


def _worst(report: Report) -> Section | None:
    """Say which cases came closest to their bounds, or were rejected, and how to run each again."""
    rows = [row for row in records(report.tolerance) if row.get("worst_case")]
    rows.sort(key=lambda row: -_or_zero(row["margin_max"]))
    again = partial(replay_command, report.environment)
    cases: dict[str, list[str]] = {}
    for row in rows:
        shown = [row["engine"], row["execution"], number(row["margin_max"]), number(row["error_u_max"])]
        cases.setdefault(row["worst_case"], [row["worst_case"], *shown, again(row["worst_case"], row["engine"])])
    tables, folded = [], []
    if report.rejections:
        wrong = [
            (item.case_id, item.engine, item.execution, item.sentence, again(item.case_id, item.engine))
            for item in report.rejections[:MOST]
        ]
        header = ("case", "engine", "execution", "what is wrong", "look closer")
        tables.append(Table(header, wrong[:_WORST], "Rejected"))
        if more := wrong[_WORST:]:
            rest = len(report.rejections) - len(wrong)
            left_out = f"; {rest:,} others stand in rejections.csv" if rest else ""
            folded.append(Table(header, more, f"Rejected, {len(more):,} more{left_out}"))
    if cases:
        header = ("case", "engine", "execution", "margin", "max u", "replay")
        tables.append(Table(header, list(cases.values())[:_WORST], "Closest to their bound, or beyond it"))
    lead = "A case is rebuilt from its id alone. Replay shows it layer by layer, and shrinks one that fails."
    return Section("Worst cases", lead, tables, folded) if tables else None


def _by_depth(tolerance: Any, charts: Any) -> Section | None:
    rows = _batched(tolerance)
    if rows.empty:
        return None
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
    drawn = charts.errors_by_depth(tolerance) if charts else {}
    legend = charts.legend_of_engines(list(dict.fromkeys(rows["engine"]))) if charts else ()
    return Section("Error against depth", lead, (), [Table(header, table)], embedded(charts, drawn), legend)


def _by_ensemble(tolerance: Any, charts: Any) -> Section | None:
    rows = _batched(tolerance)
    if rows.empty:
        return None
    engines = list(dict.fromkeys(rows["engine"]))
    largest = rows.groupby(["ensemble", "engine"])["margin_max"].max()
    ensembles = sorted(set(rows["ensemble"]))
    table = [[e, *(number(largest.get((e, name), np.nan)) for name in engines)] for e in ensembles]
    beyond = " What is above 10³ is drawn as 10³." if (largest > 1e3).any() else ""
    lead = f"The largest error / bound of each engine. A margin above 1 is a wrong gradient.{beyond}"
    drawn = {"": charts.margins_by_ensemble(tolerance)} if charts else {}
    legend = charts.legend_of_markers(engines) if charts else ()
    folded = [Table(("ensemble", *engines), table)]
    return Section("Margins by ensemble", lead, (), folded, embedded(charts, drawn), legend)


def _agreement(agreement: Any) -> Section | None:
    """Say which engines give the same bits, in a matrix of HTML: it prints, and needs no script."""
    if agreement.empty or "engine_a" not in agreement:
        return None
    shares: dict[tuple[str, str], tuple[float, int]] = {}
    for (a, b), its in agreement.groupby(["engine_a", "engine_b"]):
        components = int(its["components"].sum())
        same = float((its["identical"].fillna(0.0) * its["components"]).sum()) / components if components else np.nan
        shares[a, b] = shares[b, a] = (same, int(its["disagreeing"].sum()))
    names = list(dict.fromkeys([*agreement["engine_a"], *agreement["engine_b"]]))
    cells = [[shares.get((a, b), (np.nan, 0)) for b in names] for a in names]
    rows = [[f"{i + 1} {a}", *map(_shared, cells[i])] for i, a in enumerate(names)]
    header = ("", *(str(i + 1) for i in range(len(names))))
    lead = (
        "Share of the components on which two engines give the same bits; behind a ✕, if any, how many differ by more than "
        "their two bounds together."
    )
    return Section("Agreement of the engines", lead, [Table(header, rows, mark=partial(_shade, cells))])


def _shared(cell: tuple[float, int]) -> str:
    share, disagreeing = cell
    if np.isnan(share):
        return ""
    percent = "100%" if share == 1.0 else f"{min(share, 0.999):.0%}" if share < 0.99 else f"{min(share, 0.999):.1%}"
    return percent + (f" ✕ {disagreeing:,}" if disagreeing else "")


def _shade(cells: Sequence[Sequence[tuple[float, int]]], row: int, column: int) -> str:
    if column == 0:
        return ""
    share, disagreeing = cells[row][column - 1]
    return "wrong" if disagreeing else "" if np.isnan(share) else f"shade shade{round(10 * share)}"


def _steps(steps: Any) -> Section | None:
    if steps.empty or "judged" not in steps:
        return None
    rows = []
    for (judged, engine), its in steps.groupby(["judged", "engine"]):
        sharper = number(its["sharper_p50"].median()) if judged == "substitution" else "–"
        counts = its["verdict"].value_counts()
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        decided = its[its["verdict"] != str(Verdict.UNDECIDED)]
        rows.append([str(judged), str(engine), number(decided["margin_max"].max()), sharper, verdicts])
    said = {
        "substitution": "The triangular engines show their system: its linearisation is judged against the truth, its "
        "substitution against the exact solution of what they computed, by a bound so many times sharper than the "
        "gradient's (median).",
        "truth": "A device worked out the truth and the bounds: they are judged against NumPy's, to 2⁻²⁰ of each bound.",
    }
    lead = " ".join(sentence for judged, sentence in said.items() if (steps["judged"] == judged).any())
    return Section("Steps", lead, [Table(("judged", "engine", "margin", "sharper", "rows"), rows)])


def _activations(report: Report, charts: Any) -> Section | None:
    frame: Any = report.activations
    if frame.empty or "activation" not in frame:
        return None
    half = {tuple(row[key] for key in KEYS["activations"]): _half_lost(row) for row in records(report.curves)}
    rows = []
    for row in records(frame):
        if row["execution"] == "jitted" or row["verdict"] != str(Verdict.ACCEPTED):
            name = f"{row['quantity']}, {row['method']}, {row['execution']}"
            facts = [number(row.get(name, np.nan)) for name in ("margin_max", "error_u_max")]
            facts += [number(row.get("error_u_max_z", np.nan)) if row.get("error_u_max") else "–"]
            facts += [half.get(tuple(row[key] for key in KEYS["activations"]), "–")]
            facts += [f"{_or_zero(row.get('lost_everything')):,.0f}"]
            rows.append([row["activation"], name, *facts, row["verdict"]])
    header = (
        "activation",
        "measured",
        "margin",
        "max u",
        "at z",
        "half the digits lost at z",
        "points without any digit",
    )
    header = (*header, "verdict")
    lead = (
        "The largest error by z (on a scale of arsinh z), where the truth is a normal number. The dashed line is 2²⁴ u: "
        "every digit is lost; 2¹² u are half of them. A loss that follows from the rule by which a value is computed lies "
        "within its bound."
    )
    drawn = charts.errors_over_z(report.curves) if charts and len(report.curves) else {}
    legend = charts.legend_of_sweeps() if drawn else ()
    return Section("Activations alone", lead, (), [Table(header, rows)], embedded(charts, drawn), legend)


def _half_lost(row: dict[str, Any]) -> str:
    """Say in which bins of z half of the digits or more are lost, as "−104 … −9.1, 9.1 … 104"."""
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


def _functions(functions: Any) -> Section | None:
    if functions.empty or "function" not in functions:
        return None
    counts = functions["verdict"].value_counts()
    rows = [row for row in records(functions) if row["verdict"] in (str(Verdict.REJECTED), str(Verdict.ACCEPTED))]
    rows.sort(key=lambda row: (row["verdict"] != str(Verdict.REJECTED), -_or_zero(row["margin_max"])))
    rejected = sum(row["verdict"] == str(Verdict.REJECTED) for row in rows)
    shown = []
    for row in rows[: max(_WORST, min(rejected, MOST))]:
        what = ", ".join(str(row[name]) for name in ("quantity", "argument", "method", "execution") if row.get(name))
        figures = (number(row["margin_max"]), number(row.get("error_u_max", np.nan)))
        shown.append([row["function"], what, *figures, number(row.get("worst_x", np.nan), exact=True), row["verdict"]])
    lead = f"Of {len(functions):,} rows of functions.csv: "
    lead += ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) + "."
    if str(Verdict.KNOWN) in counts:
        lead += " Known is what is wrong there in a released JAX, too; the note of its row says how."
    header = ("function", "measured", "margin", "max u", "worst x", "verdict")
    table = Table(header, shown, "Rejected, and closest to their bound" if rejected else "Closest to their bound")
    return Section("Elementary functions", lead, [table] if rejected else [], [] if rejected else [table])


def _environment(environment: dict[str, Any]) -> Section:
    rows = [[name, said(fact)] for name, fact in environment.items() if name != "processor"]
    processor = environment.get("processor", {})
    rows += [[f"processor, {name}", said(fact)] for name, fact in processor.items()]
    return Section("Environment", "What produced this report.", (), [Table(("fact", "value"), rows)])


def _batched(tolerance: Any) -> Any:
    if "execution" not in tolerance:
        return pd.DataFrame()
    return tolerance[(tolerance["execution"] == "batched") & tolerance["margin_max"].notna()]


def _or_zero(value: Any) -> float:
    return 0.0 if value is None or value != value else float(value)
