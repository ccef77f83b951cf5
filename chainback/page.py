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
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from chainback.comparison import Comparison
from chainback.judgement import Verdict
from chainback.report import Report, write_text
from chainback.sections import Section, Table, comparison_sections, report_sections

__all__ = ["comparison_page", "report_page", "write_page"]


def write_page(what: Report | Comparison, path: str | Path) -> None:
    """Write the page of a report or a comparison, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    write_text(Path(path), report_page(what) if isinstance(what, Report) else comparison_page(what))


def report_page(report: Report) -> str:
    """Return the page of a report."""
    title, _, remarks = report.told()
    charts = _charts()
    sections = report_sections(report, charts)
    word = str(report.verdict).upper()
    return _page(report.verdict, word, title, _when(report.environment), remarks, sections, missing=charts is None)


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    verdict = {0: Verdict.ACCEPTED, 1: Verdict.REJECTED}.get(comparison.exit_code, Verdict.UNDECIDED)
    title, _, _, remarks = comparison.told()
    sections = comparison_sections(comparison)
    return _page(verdict, comparison.outcome, title, "", remarks, sections)


def _charts() -> Any:
    """Return the module that draws, or None where plotly is not installed."""
    try:
        return importlib.import_module("chainback.charts")
    except ModuleNotFoundError:
        return None


def _when(environment: dict[str, Any]) -> str:
    model = environment.get("processor", {}).get("model", "")
    packages = environment.get("packages", {})
    parts = (
        environment.get("time", ""),
        f"Python {environment['python']}" if "python" in environment else "",
        f"jaxlib {packages['jaxlib']}" if "jaxlib" in packages else "",
        ", ".join(filter(None, (environment.get("system", ""), environment.get("machine", ""), model))),
        f"{environment['cases']:,} cases" if "cases" in environment else "",
        " ".join(f"{name}={value}" for name, value in environment.get("variables", {}).items()),
    )
    return " · ".join(filter(None, parts))


def _page(
    verdict: Verdict,
    word: str,
    title: str,
    when: str,
    remarks: Iterable[str],
    sections: Sequence[Section],
    *,
    missing: bool = False,
) -> str:
    charts = [chart for section in sections for chart in section.charts]
    return Template(_PAGE).substitute(
        title=escape(f"{word}: {title}"),
        style=_STYLE,
        verdict=escape(str(verdict).replace(" ", "-")),
        word=escape(word),
        what=escape(title),
        when=escape(when),
        remarks="\n".join(f"<li>{escape(remark)}</li>" for remark in remarks),
        missing=_MISSING if missing else "",
        sections="\n".join(_sections(sections)),
        scripts=_scripts([figure for _, figure in charts]) if charts else "",
    )


def _sections(sections: Sequence[Section]) -> Iterator[str]:
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
                f'<section id="{_slug(section.title)}"><h2>{escape(section.title)}</h2>',
                f"<p>{escape(section.lead)}</p>",
                *map(_html_table, section.tables),
                _legend(section.legend),
                f'<div class="{kind}">{"".join(panels)}</div>' if panels else "",
                *map(_folded, section.folded),
                "</section>",
            )
        )


def _slug(title: str) -> str:
    return escape(title.lower().replace(" ", "-"))


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    items = (f"<li>{_sign(colour, style)}{escape(name)}</li>" for name, colour, style in entries)
    return f'<ul class="legend">{"".join(items)}</ul>' if entries else ""


def _sign(colour: str, style: str) -> str:
    """Return a line of a dash, or a marker, as plotly draws them."""
    if style in _MARKERS:
        return f'<svg width="12" height="12" aria-hidden="true"><path d="{_MARKERS[style]}" fill="{escape(colour)}"/></svg>'
    return (
        f'<svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" stroke="{escape(colour)}" stroke-width="2.5" '
        f'stroke-dasharray="{_DASHES.get(style, "none")}"/></svg>'
    )


_DASHES = {"dash": "6 4", "dot": "2 4", "dashdot": "6 3 2 3"}
_MARKERS = {
    "circle": "M6 2A4 4 0 0 1 6 10A4 4 0 0 1 6 2",
    "diamond": "M6 1L11 6L6 11L1 6Z",
    "square": "M2 2H10V10H2Z",
    "triangle-up": "M6 1L11 10H1Z",
}


def _folded(table: Table) -> str:
    return f"<details><summary>Show the table</summary>{_html_table(table)}</details>"


def _html_table(table: Table) -> str:
    name = f"<h3>{escape(table.name)}</h3>" if table.name else ""
    numbers = [any(_kind(row[j]) == "number" for row in table.rows) for j in range(len(table.header))]
    head = "".join(
        f"<th{' class=number' * is_number}>{escape(column)}</th>"
        for column, is_number in zip(table.header, numbers, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(table, i, j, cell) for j, cell in enumerate(row)) + "</tr>\n"
        for i, row in enumerate(table.rows)
    )
    return f'{name}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(table: Table, row: int, column: int, text: str) -> str:
    words = {str(verdict): str(verdict).replace(" ", "-") for verdict in Verdict}
    command = text.startswith("chainback replay ")
    kind = words.get(text) or table.mark(row, column) or ("" if command else _kind(text))
    inside = f"<code>{escape(text)}</code>" if command else escape(text)
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
.number { text-align: right; } td.long { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
td.accepted { color: var(--good); } td.undecided, td.known { color: var(--doubt); }
td.rejected, td.worse, td.wrong { color: var(--bad); font-weight: 600; } td.not-run, td.not-there { color: var(--soft); }
td.shade, td.wrong { text-align: center; padding: 0.28rem 0.5rem; min-width: 3.4rem; border: 2px solid var(--paper); }
$shades
code { font: 0.85em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { user-select: all; }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 0.15rem 1.1rem; list-style: none; margin: 0.7rem 0; padding: 0;
  font-size: 0.85rem; }
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
""".replace("$shades", "\n".join(f".shade{i} {{ background: rgb(var(--blue) / {0.055 * i:.3g}); }}" for i in range(11)))

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
