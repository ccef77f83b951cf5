"""Pages: what a report or a comparison says, as one HTML file that needs no network and no plotly to be read.

A page is made of sections, each a table and perhaps charts; the same sections are the text of CI logs. Charts are drawn in
the browser by plotly's own bundle, the only one that its Python package has: 4.8 MB, which stand in the page once,
compressed (1.9 MB), and are unpacked by the browser. Drawing them ourselves as SVG would be smaller and would lose hover,
zoom and a maintained library. Where plotly is not installed the page has all its tables and says how to get the charts.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from chainback.comparison import Comparison
from chainback.judgement import Verdict
from chainback.report import COLUMNS, Report, markdown_table, number, records, write_text

__all__ = ["comparison_page", "report_page", "text", "write_page"]

#: How many rows a table of the worst shows.
_WORST = 12
#: How many rows of a comparison are shown, and how many rejections.
_MOST = 200


@dataclass(frozen=True)
class _Table:
    """A table: `marks` gives a cell a class of its own, by row and column."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""
    mark: Callable[[int, int], str] = lambda row, column: ""


@dataclass(frozen=True)
class _Section:
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
    tables: Sequence[_Table] = ()
    folded: Sequence[_Table] = ()
    charts: Sequence[tuple[str, str]] = ()
    legend: Sequence[tuple[str, str, str]] = ()


def write_page(what: Report | Comparison, path: str | Path) -> None:
    """Write the page of a report or a comparison, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    write_text(Path(path), report_page(what) if isinstance(what, Report) else comparison_page(what))


def report_page(report: Report) -> str:
    """Return the page of a report."""
    title, _, remarks = report.told()
    return _page(report.verdict, title, _when(report.environment), remarks, report_sections(report, _charts()))


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    verdict = {0: Verdict.ACCEPTED, 1: Verdict.REJECTED}.get(comparison.exit_code, Verdict.UNDECIDED)
    title, _, _, remarks = comparison.told()
    sections = comparison_sections(comparison)
    return _page(verdict, title, "", remarks, sections, word=comparison.outcome)


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


def _charts() -> Any:
    """Return the module that draws, or None where plotly is not installed."""
    try:
        return importlib.import_module("chainback.charts")
    except ModuleNotFoundError:
        return None


# --- what a report says ---


def report_sections(report: Report, charts: Any) -> list[_Section]:
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


def _engines(report: Report) -> _Section | None:
    _, rows, _ = report.told()
    return _Section("Engines", report.caption, [_Table(COLUMNS, rows)]) if rows else None


def _worst(report: Report) -> _Section | None:
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
        tables.append(_Table(("case", "engine", "execution", "what is wrong", "look closer"), wrong, "Rejected"))
    if cases:
        header = ("case", "engine", "execution", "margin", "max u", "replay")
        tables.append(_Table(header, list(cases.values())[:_WORST], "Closest to their bound, or beyond it"))
    lead = "A case is rebuilt from its id alone. Replay shows it layer by layer, and shrinks one that fails."
    return _Section("Worst cases", lead, tables) if tables else None


def _replay(case_id: str, engine: str) -> str:
    own = f" --engines none --engine {shlex.quote(engine)}" if ":" in engine else f" --engines {shlex.quote(engine)}"
    return f"chainback replay {shlex.quote(case_id)}{own}"


def _by_depth(tolerance: pd.DataFrame, charts: Any) -> _Section | None:
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
    return _Section("Error against depth", lead, (), [_Table(header, table)], _embedded(charts, drawn), legend)


def _by_ensemble(tolerance: pd.DataFrame, charts: Any) -> _Section | None:
    rows = _batched(tolerance)
    if rows.empty:
        return None
    engines = list(dict.fromkeys(rows["engine"]))
    largest = rows.groupby(["ensemble", "engine"])["margin_max"].max()
    ensembles = sorted(set(rows["ensemble"]))
    table = [[e, *(number(largest.get((e, name), np.nan)) for name in engines)] for e in ensembles]
    lead = "The largest error / bound of each engine. A margin above 1 is a wrong gradient."
    drawn = {"": charts.margins_by_ensemble(tolerance)} if charts else {}
    legend = charts.legend_of_engines(engines)[:-2] if charts else ()
    folded = [_Table(("ensemble", *engines), table)]
    return _Section("Margins by ensemble", lead, (), folded, _embedded(charts, drawn), legend)


def _agreement(agreement: pd.DataFrame) -> _Section | None:
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
    return _Section("Agreement of the engines", lead, [_Table(header, rows, mark=partial(_shade, cells))])


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


def _steps(steps: pd.DataFrame) -> _Section | None:
    if steps.empty or "judged" not in steps:
        return None
    rows = []
    for (judged, engine), its in steps.groupby(["judged", "engine"]):
        sharper = number(its["sharper_p50"].median()) if judged == "substitution" else "–"
        counts = its["verdict"].value_counts()
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        rows.append([str(judged), str(engine), number(its["margin_max"].max()), sharper, verdicts])
    lead = (
        "The triangular engines show their system: its linearisation is judged against the truth, its substitution against "
        "the exact solution of what they computed, by a bound so many times sharper than the gradient's (median)."
    )
    return _Section("Steps", lead, [_Table(("judged", "engine", "margin", "sharper", "rows"), rows)])


def _activations(report: Report, charts: Any) -> _Section | None:
    frame = report.activations
    if frame.empty or "activation" not in frame:
        return None
    rows = []
    for row in records(frame):
        if row["execution"] == "jitted" or row["verdict"] != str(Verdict.ACCEPTED):
            facts = (number(row.get(name, np.nan)) for name in ("margin_max", "error_u_max", "error_u_max_z"))
            name = f"{row['quantity']}, {row['method']}, {row['execution']}"
            rows.append([row["activation"], name, *facts, f"{_or_zero(row.get('lost_everything')):,.0f}", row["verdict"]])
    header = ("activation", "measured", "margin", "max u", "at z", "all digits lost at", "verdict")
    lead = (
        "The largest error by z (on a scale of arsinh z), where the truth is a normal number. The dashed line is 2²⁴ u: every "
        "digit is lost. A loss that follows from the rule by which a value is computed lies within its bound."
    )
    drawn = charts.errors_over_z(report.curves) if charts and len(report.curves) else {}
    legend = charts.legend_of_sweeps() if drawn else ()
    return _Section("Activations alone", lead, (), [_Table(header, rows)], _embedded(charts, drawn), legend)


def _functions(functions: pd.DataFrame) -> _Section | None:
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
    table = _Table(header, shown, "Rejected, and closest to their bound" if rejected else "Closest to their bound")
    return _Section("Elementary functions", lead, [table] if rejected else [], [] if rejected else [table])


def _environment(environment: dict[str, Any]) -> _Section:
    rows = [[name, _said(fact)] for name, fact in environment.items() if name != "processor"]
    processor = environment.get("processor", {})
    rows += [[f"processor, {name}", _said(fact)] for name, fact in processor.items()]
    return _Section("Environment", "What produced this report.", (), [_Table(("fact", "value"), rows)])


def _said(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_said(value)}" for name, value in fact.items()) or "none"
    if isinstance(fact, list | tuple):
        return ", ".join(map(_said, fact)) or "none"
    return "default" if fact is None else str(fact)


def _when(environment: dict[str, Any]) -> str:
    model = environment.get("processor", {}).get("model", "")
    packages = environment.get("packages", {})
    parts = (
        environment.get("time", ""),
        f"Python {environment['python']}" if "python" in environment else "",
        f"jaxlib {packages['jaxlib']}" if "jaxlib" in packages else "",
        ", ".join(filter(None, (environment.get("system", ""), environment.get("machine", ""), model))),
        f"{environment['cases']:,} cases" if "cases" in environment else "",
    )
    return " · ".join(filter(None, parts))


def _batched(tolerance: pd.DataFrame) -> pd.DataFrame:
    if "execution" not in tolerance:
        return pd.DataFrame()
    return tolerance[(tolerance["execution"] == "batched") & tolerance["margin_max"].notna()]


def _or_zero(value: Any) -> float:
    return 0.0 if value is None or value != value else float(value)


def _embedded(charts: Any, figures: dict[str, Any]) -> list[tuple[str, str]]:
    return list(zip(figures, charts.embedded(figures.values()), strict=True)) if figures else []


# --- what a comparison says ---


def comparison_sections(comparison: Comparison) -> list[_Section]:
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
    sections = [_Section("Rows by outcome", "How many rows of each table came to what.", [_Table(header, counted)])]
    if shown:
        lead = f"Rows that are neither as they were nor within their bounds, the worst first.{more}"
        columns = ("outcome", "row", "what moved", "margin", "rms u")
        sections.append(_Section("What changed", lead, [_Table(columns, shown)]))
    facts = dict.fromkeys((*comparison.old.environment, *comparison.new.environment))
    both = [(comparison.old.environment.get(name), comparison.new.environment.get(name)) for name in facts]
    other = [[name, _said(a), _said(b)] for name, (a, b) in zip(facts, both, strict=True) if a != b]
    if other:
        lead = "What produced the two reports; facts that are the same are left out."
        sections.append(_Section("Environments", lead, (), [_Table(("fact", "old", "new"), other)]))
    return sections


# --- as HTML ---


def _page(
    verdict: Verdict, title: str, when: str, remarks: Iterable[str], sections: Sequence[_Section], word: str = ""
) -> str:
    charts = [chart for section in sections for chart in section.charts]
    word = word or str(verdict).upper()
    return Template(_PAGE).substitute(
        title=escape(f"{word}: {title}"),
        style=_STYLE,
        verdict=escape(str(verdict).replace(" ", "-")),
        word=escape(word),
        what=escape(title),
        when=escape(when),
        remarks="\n".join(f"<li>{escape(remark)}</li>" for remark in remarks),
        missing="" if charts or word != str(verdict).upper() else _MISSING,
        sections="\n".join(_sections(sections)),
        scripts=_scripts([figure for _, figure in charts]) if charts else "",
    )


def _sections(sections: Sequence[_Section]) -> Iterator[str]:
    place = 0
    for section in sections:
        panels = []
        for name, _ in section.charts:
            caption = f"<figcaption>{escape(name)}</figcaption>" if name else ""
            panels.append(f'<figure>{caption}<div class="chart" data-figure="{place}"></div></figure>')
            place += 1
        kind = "panels" if len(panels) > 1 else "panel"
        yield "\n".join(
            (
                f"<section><h2>{escape(section.title)}</h2><p>{escape(section.lead)}</p>",
                *map(_html_table, section.tables),
                _legend(section.legend),
                f'<div class="{kind}">{"".join(panels)}</div>' if panels else "",
                *map(_folded, section.folded),
                "</section>",
            )
        )


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    dashes = {"dash": "6 4", "dot": "2 4", "dashdot": "6 3 2 3"}
    items = (
        f'<li><svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" stroke="{escape(colour)}" stroke-width="2.5" '
        f'stroke-dasharray="{dashes.get(dash, "none")}"/></svg>{escape(name)}</li>'
        for name, colour, dash in entries
    )
    return f'<ul class="legend">{"".join(items)}</ul>' if entries else ""


def _folded(table: _Table) -> str:
    return f"<details><summary>The numbers</summary>{_html_table(table)}</details>"


def _html_table(table: _Table) -> str:
    name = f"<h3>{escape(table.name)}</h3>" if table.name else ""
    head = "".join(f"<th>{escape(column)}</th>" for column in table.header)
    body = "".join(
        "<tr>" + "".join(_cell(table, i, j, cell) for j, cell in enumerate(row)) + "</tr>\n"
        for i, row in enumerate(table.rows)
    )
    return f'{name}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(table: _Table, row: int, column: int, text: str) -> str:
    words = {str(verdict): str(verdict).replace(" ", "-") for verdict in Verdict}
    kind = words.get(text) or table.mark(row, column) or _kind(text)
    inside = f"<code>{escape(text)}</code>" if text.startswith("chainback ") else escape(text)
    return f'<td class="{kind}">{inside}</td>' if kind else f"<td>{inside}</td>"


def _kind(text: str) -> str:
    """Return the class of a cell by what stands in it: a number, or much text."""
    plain = text.replace(",", "").rstrip("%")
    if plain in ("–", "inf", "nan") or plain.lstrip("-").replace(".", "").replace("e+", "").replace("e-", "").isdigit():
        return "number"
    return "worse" if text.startswith("WORSE ") else "long" if len(text) > 60 else ""


def _scripts(figures: Sequence[str]) -> str:
    """Return the charts: plotly's bundle, compressed, the figures, and what unpacks and draws them."""
    bundle = importlib.import_module("plotly.offline").get_plotlyjs().encode()
    packed = base64.b64encode(gzip.compress(bundle, 6, mtime=0)).decode()
    return (
        f'<script type="text/plain" id="plotly">{packed}</script>\n'
        f'<script type="application/json" id="figures">[{",".join(figures)}]</script>\n'
        f'<script type="module">{_DRAW}</script>'
    )


_MISSING = (
    '<p class="missing">There are no charts here, because plotly was not installed where this page was written: '
    "<code>pip install 'chainback[pictures]'</code> gets them for the next one. All numbers stand in the tables.</p>"
)

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<header class="$verdict">
<h1>$word</h1>
<p class="what">$what</p>
<p class="when">$when</p>
</header>
<main>
<ul class="remarks">
$remarks
</ul>
$missing
<p class="missing" id="old" hidden>This browser cannot unpack the charts. All numbers stand in the tables.</p>
$sections
</main>
$scripts
</body>
</html>
"""

_STYLE = """
:root {
  --paper: #ffffff; --ink: #1c2024; --soft: #5c6670; --rule: #e3e6ea; --card: #f6f7f9;
  --good: #18794e; --bad: #c6262e; --doubt: #a05a00; --blue: 42 143 216;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e6e9ec; --soft: #9aa5b1; --rule: #2d333a; --card: #1c2126;
    --good: #4cc38a; --bad: #ff6b70; --doubt: #f1a10d;
  }
}
@media print {
  :root {
    --paper: #ffffff; --ink: #000000; --soft: #444444; --rule: #cccccc; --card: #ffffff;
    --good: #18794e; --bad: #c6262e; --doubt: #a05a00;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem clamp(0.75rem, 3vw, 2rem) 4rem; max-width: 76rem;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
header { border-left: 0.5rem solid var(--doubt); background: var(--card); padding: 0.9rem 1.2rem; border-radius: 0.4rem; }
header.accepted { border-color: var(--good); } header.rejected { border-color: var(--bad); }
h1 { margin: 0; font-size: 1.7rem; letter-spacing: 0.02em; color: var(--doubt); }
.accepted h1 { color: var(--good); } .rejected h1 { color: var(--bad); }
h2 { margin: 2.4rem 0 0.3rem; font-size: 1.2rem; } h3 { margin: 1rem 0 0.3rem; font-size: 1rem; }
header p, section > p { margin: 0.2rem 0; } section > p, .when { color: var(--soft); max-width: 60rem; }
.when { font-size: 0.87rem; }
.remarks { margin: 1rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.missing { border: 1px solid var(--rule); border-radius: 0.4rem; padding: 0.6rem 1rem; background: var(--card); }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: 0.28rem 0.9rem 0.28rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td { vertical-align: top; }
td.number { text-align: right; } td.long { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
td.accepted { color: var(--good); } td.undecided, td.known { color: var(--doubt); }
td.rejected, td.worse, td.wrong { color: var(--bad); font-weight: 600; } td.not-run, td.not-there { color: var(--soft); }
td.shade, td.wrong { text-align: center; padding: 0.28rem 0.5rem; min-width: 3.4rem; border: 2px solid var(--paper); }
$shades
code { font: 0.85em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { user-select: all; }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 0.15rem 1.1rem; list-style: none; margin: 0.7rem 0; padding: 0; font-size: 0.85rem; }
.legend svg { margin-right: 0.4rem; vertical-align: middle; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; } figcaption { font-weight: 600; font-size: 0.9rem; }
.chart { min-height: 240px; }
.chart svg:not(.hover) text { fill: var(--ink) !important; }
.chart .gridlayer path { stroke: var(--rule) !important; }
.chart .hoverlayer .bg, .chart .hoverlayer .legend rect { fill: var(--card) !important; stroke: var(--rule) !important; }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  .scroll { overflow: visible; } td.long { min-width: 0; } th, td { white-space: normal; padding-right: 0.5rem; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .panels { grid-template-columns: 1fr 1fr; }
}
""".replace(
    "$shades", "\n".join(f".shade{i} {{ background: rgb(var(--blue) / {0.055 * i:.3g}); }}" for i in range(11))
)

_DRAW = """
const old = document.getElementById("old");
if (typeof DecompressionStream === "undefined") { old.hidden = false; }
else {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = document.querySelectorAll("[data-figure]");
  for (const chart of charts) {
    const { data, layout } = figures[chart.dataset.figure];
    await Plotly.newPlot(chart, data, layout, { responsive: true, displayModeBar: false });
  }
  const fit = () => charts.forEach((chart) => Plotly.Plots.resize(chart));
  addEventListener("beforeprint", fit);
  addEventListener("afterprint", fit);
  document.body.dataset.drawn = charts.length;
}
"""
