"""What a report or a comparison says, in sections: each a table or two, and perhaps charts; for a page, and for a log."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from chainback.comparison import Comparison
from chainback.judgement import Verdict
from chainback.report import COLUMNS, Report, markdown_table, number, records

__all__ = ["Section", "Table", "comparison_sections", "report_sections", "text"]

#: How many rows a table of the worst shows.
_WORST = 12
#: How many rows of a comparison are shown, and how many rejections.
_MOST = 200


@dataclass(frozen=True)
class Table:
    """A table: `marks` gives a cell a class of its own, by row and column."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""
    mark: Callable[[int, int], str] = lambda row, column: ""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        lead: What is to be seen there.
        tables: Shown as they are.
        folded: Shown when they are opened, and in print.
        charts: Named figures in plotly's JSON.
        legend: (name, colour, dash) of what the charts show.
    """

    title: str
    lead: str
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    charts: Sequence[tuple[str, str]] = ()
    legend: Sequence[tuple[str, str, str]] = ()


def text(what: Report | Comparison) -> str:
    """Return the sections of a page as Markdown, for a log."""
    sections = report_sections(what, None) if isinstance(what, Report) else comparison_sections(what)
    lines: list[str] = []
    for section in sections:
        lines += [f"#### {section.title}", "", section.lead, ""]
        for table in (*section.tables, *section.folded):
            cells = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
            lines += [table.name, ""] if table.name else []
            lines += [markdown_table(table.header, cells), ""]
    return "\n".join(lines)


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
    cases: dict[str, list[str]] = {}
    for row in rows:
        shown = [row["engine"], row["execution"], number(row["margin_max"]), number(row["error_u_max"])]
        cases.setdefault(row["worst_case"], [row["worst_case"], *shown, _replay(row["worst_case"], row["engine"])])
    tables = []
    if report.rejections:
        wrong = [
            (item.case_id, item.engine, item.execution, item.reason, _replay(item.case_id, item.engine))
            for item in report.rejections[:_MOST]
        ]
        tables.append(Table(("case", "engine", "execution", "what is wrong", "look closer"), wrong, "Rejected"))
    if cases:
        header = ("case", "engine", "execution", "margin", "max u", "replay")
        tables.append(Table(header, list(cases.values())[:_WORST], "Closest to their bound, or beyond it"))
    lead = "A case is rebuilt from its id alone. Replay shows it layer by layer, and shrinks one that fails."
    return Section("Worst cases", lead, tables) if tables else None


def _replay(case_id: str, engine: str) -> str:
    own = f" --engines none --engine {shlex.quote(engine)}" if ":" in engine else f" --engines {shlex.quote(engine)}"
    return f"chainback replay {shlex.quote(case_id)}{own}"


def _by_depth(tolerance: Any, charts: Any) -> Section | None:
    rows = _batched(tolerance)
    if rows.empty:
        return None
    table = []
    for (ensemble, depth), its in rows.groupby(["ensemble", "depth"]):
        p99 = its.groupby("engine")["error_u_p99"].max()
        bound = its["bound_u_p50"].median() if "bound_u_p50" in its else np.nan
        figures = (p99.min(), p99.max(), its["error_u_max"].max(), bound, its["margin_max"].max())
        table.append([str(ensemble), str(depth), f"{its['cases'].max():,}", *map(number, figures)])
    header = ("ensemble", "depth", "cases", "p99 u, best engine", "worst engine", "max u", "bound u", "margin")
    lead = (
        "The 99th percentile of the error, in units of 2⁻²⁴ of the truth, of each engine (of several widths the worst); the "
        "largest error of any; and the median of the bound. Larger errors than the bound's median lie where the bound is "
        "larger, too."
    )
    drawn = charts.errors_by_depth(tolerance) if charts else {}
    legend = charts.legend_of_engines(list(dict.fromkeys(rows["engine"]))) if charts else ()
    return Section("Error against depth", lead, (), [Table(header, table)], _embedded(charts, drawn), legend)


def _by_ensemble(tolerance: Any, charts: Any) -> Section | None:
    rows = _batched(tolerance)
    if rows.empty:
        return None
    engines = list(dict.fromkeys(rows["engine"]))
    largest = rows.groupby(["ensemble", "engine"])["margin_max"].max()
    ensembles = sorted(set(rows["ensemble"]))
    table = [[e, *(number(largest.get((e, name), np.nan)) for name in engines)] for e in ensembles]
    lead = "The largest error / bound of each engine. A margin above 1 is a wrong gradient."
    drawn = {"": charts.margins_by_ensemble(tolerance)} if charts else {}
    legend = charts.legend_of_markers(engines) if charts else ()
    folded = [Table(("ensemble", *engines), table)]
    return Section("Margins by ensemble", lead, (), folded, _embedded(charts, drawn), legend)


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
        "Share of the components on which two engines give the same bits; below it, if any, how many differ by more than "
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
    lead = (
        "The triangular engines show their system: its linearisation is judged against the truth, its substitution against "
        "the exact solution of what they computed, by a bound so many times sharper than the gradient's (median)."
    )
    return Section("Steps", lead, [Table(("judged", "engine", "margin", "sharper", "rows"), rows)])


def _activations(report: Report, charts: Any) -> Section | None:
    frame: Any = report.activations
    if frame.empty or "activation" not in frame:
        return None
    rows = []
    for row in records(frame):
        if row["execution"] == "jitted" or row["verdict"] != str(Verdict.ACCEPTED):
            facts = (number(row.get(name, np.nan)) for name in ("margin_max", "error_u_max", "error_u_max_z"))
            name = f"{row['quantity']}, {row['method']}, {row['execution']}"
            rows.append(
                [row["activation"], name, *facts, f"{_or_zero(row.get('lost_everything')):,.0f}", row["verdict"]]
            )
    header = ("activation", "measured", "margin", "max u", "at z", "all digits lost at", "verdict")
    lead = (
        "The largest error by z (on a scale of arsinh z), where the truth is a normal number. The dashed line is 2²⁴ u: "
        "every digit is lost. A loss that follows from the rule by which a value is computed lies within its bound."
    )
    drawn = charts.errors_over_z(report.curves) if charts and len(report.curves) else {}
    legend = charts.legend_of_sweeps() if drawn else ()
    return Section("Activations alone", lead, (), [Table(header, rows)], _embedded(charts, drawn), legend)


def _functions(functions: Any) -> Section | None:
    if functions.empty or "function" not in functions:
        return None
    counts = functions["verdict"].value_counts()
    rows = [row for row in records(functions) if row["verdict"] in (str(Verdict.REJECTED), str(Verdict.ACCEPTED))]
    rows.sort(key=lambda row: (row["verdict"] != str(Verdict.REJECTED), -_or_zero(row["margin_max"])))
    rejected = sum(row["verdict"] == str(Verdict.REJECTED) for row in rows)
    shown = []
    for row in rows[: max(_WORST, min(rejected, _MOST))]:
        what = ", ".join(str(row[name]) for name in ("quantity", "argument", "method", "execution") if row.get(name))
        figures = (number(row["margin_max"]), number(row.get("error_u_max", np.nan)))
        shown.append([row["function"], what, *figures, number(row.get("worst_x", np.nan), exact=True), row["verdict"]])
    lead = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) + " of the rows of functions.csv."
    header = ("function", "measured", "margin", "max u", "worst x", "verdict")
    table = Table(header, shown, "Rejected, and closest to their bound" if rejected else "Closest to their bound")
    return Section("Elementary functions", lead, [table] if rejected else [], [] if rejected else [table])


def _environment(environment: dict[str, Any]) -> Section:
    rows = [[name, _said(fact)] for name, fact in environment.items() if name != "processor"]
    processor = environment.get("processor", {})
    rows += [[f"processor, {name}", _said(fact)] for name, fact in processor.items()]
    return Section("Environment", "What produced this report.", (), [Table(("fact", "value"), rows)])


def _said(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_said(value)}" for name, value in fact.items()) or "none"
    if isinstance(fact, list | tuple):
        return ", ".join(map(_said, fact)) or "none"
    return "default" if fact is None else str(fact)


def _batched(tolerance: Any) -> Any:
    if "execution" not in tolerance:
        return pd.DataFrame()
    return tolerance[(tolerance["execution"] == "batched") & tolerance["margin_max"].notna()]


def _or_zero(value: Any) -> float:
    return 0.0 if value is None or value != value else float(value)


def _embedded(charts: Any, figures: dict[str, Any]) -> list[tuple[str, str]]:
    return list(zip(figures, charts.embedded(figures.values()), strict=True)) if figures else []


def comparison_sections(comparison: Comparison) -> list[Section]:
    """Return the sections of a comparison's page."""
    _, header, counted, _ = comparison.told()
    rows = comparison.telling()
    shown = [
        [
            ("WORSE " if row["worse"] else "") + row["outcome"],
            f"{row['table']}: {row['row']}",
            "; ".join(filter(None, (row["moved"], row["note"]))),
            *(f"{number(row[f'{name}_old'])} → {number(row[f'{name}_new'])}" for name in ("margin_max", "error_u_rms")),
        ]
        for row in rows[:_MOST]
    ]
    more = f" The first {_MOST} of {len(rows):,}; all are in comparison.csv." if len(rows) > _MOST else ""
    sections = [Section("Rows by outcome", "How many rows of each table came to what.", [Table(header, counted)])]
    if shown:
        lead = f"Rows that are neither as they were nor within their bounds, the worst first.{more}"
        columns = ("outcome", "row", "what moved", "margin", "rms u")
        sections.append(Section("What changed", lead, [Table(columns, shown)]))
    facts = dict.fromkeys((*comparison.old.environment, *comparison.new.environment))
    both = [(comparison.old.environment.get(name), comparison.new.environment.get(name)) for name in facts]
    other = [[name, _said(a), _said(b)] for name, (a, b) in zip(facts, both, strict=True) if a != b]
    if other:
        lead = "What produced the two reports; facts that are the same are left out."
        sections.append(Section("Environments", lead, (), [Table(("fact", "old", "new"), other)]))
    return sections
