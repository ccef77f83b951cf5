"""How pages look: light, dark, on a phone and in print."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
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
header {
  border-left: 0.5rem solid var(--doubt); background: var(--card); padding: 0.9rem 1.2rem; border-radius: 0.4rem;
  overflow-wrap: anywhere;
}
header.none { border-color: var(--soft); } .none h1 { color: var(--ink); }
header.accepted { border-color: var(--good); } header.rejected { border-color: var(--bad); }
h1 { margin: 0; font-size: 1.7rem; letter-spacing: 0.02em; color: var(--doubt); }
.accepted h1 { color: var(--good); } .rejected h1 { color: var(--bad); }
h2 { margin: 2.4rem 0 0.3rem; font-size: 1.2rem; } h3 { margin: 1rem 0 0.3rem; font-size: 1rem; }
header p, .head p { margin: 0.2rem 0; } .head p, .when { color: var(--soft); max-width: 60rem; }
.when { font-size: 0.87rem; }
.remarks { margin: 1rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.missing { border: 1px solid var(--rule); border-radius: 0.4rem; padding: 0.6rem 1rem; background: var(--card); }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
.head { break-inside: avoid; break-after: avoid; }
h3 { break-after: avoid; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: 0.28rem 0.9rem 0.28rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td { vertical-align: top; } th { white-space: normal; }
.number { text-align: right; } td.long, td.command { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
td.accepted { color: var(--good); } td.undecided, td.known { color: var(--doubt); }
td.rejected, td.worse, td.wrong { color: var(--bad); font-weight: 600; } td.not-run, td.not-there { color: var(--soft); }
.matrix :is(th, td):not(:first-child) { text-align: center; padding: 0.28rem 0.5rem; min-width: 3.4rem; }
td.shade, td.wrong { border: 2px solid var(--paper); }
$shades
code { font: 0.85em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { user-select: all; }
details { margin: 0.6rem 0; } details h3 { display: none; } summary { cursor: pointer; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 0.15rem 1.1rem; list-style: none; margin: 0.7rem 0; padding: 0;
  font-size: 0.85rem; }
.legend svg { margin-right: 0.4rem; vertical-align: middle; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; } figcaption { font-weight: 600; font-size: 0.9rem; }
.chart svg:not(.hover) :not(.heatmap-label) > text { fill: var(--ink) !important; }
.chart .gridlayer path { stroke: var(--rule) !important; }
.chart .hoverlayer .bg, .chart .hoverlayer .legend rect { fill: var(--card) !important; stroke: var(--rule) !important; }
@media (max-width: 40rem) {
  table { font-size: 0.75rem; } th, td { padding-right: 0.4rem; white-space: normal; }
  td.number { white-space: nowrap; } th.number { white-space: normal; } .matrix { font-size: 0.68rem; }
  .matrix :is(th, td):not(:first-child) { min-width: 0; padding: 0.28rem 0.1rem; }
  .stacked thead { display: none; }
  .stacked, .stacked tbody, .stacked tr { display: block; }
  .stacked tr { padding: 0.4rem 0; border-bottom: 1px solid var(--rule); }
  .stacked td { display: inline-block; padding: 0 0.7rem 0 0; border: 0; text-align: left; min-width: 0; }
  .stacked td:empty { display: none; }
  .stacked td:not(:first-child, .long, .command)::before { content: attr(data-name) " "; color: var(--soft); }
  .stacked td:first-child { font-weight: 600; } .stacked td.command, .stacked td.long { display: block; }
  .stacked { font-size: 0.8rem; } .stacked code { overflow-wrap: anywhere; }
}
@media print {
  html { font-size: 13px; }
  body { font-size: 10pt; max-width: none; padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  .scroll { overflow: visible; } td.long, td.command { min-width: 0; } th, td { white-space: normal; padding-right: 0.5rem; }
  td.number { white-space: nowrap; }
  summary { display: none; } details h3 { display: block; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .panels { grid-template-columns: 1fr 1fr; }
}
""".replace("$shades", "\n".join(f".shade{i} {{ background: rgb(var(--blue) / {0.055 * i:.3g}); }}" for i in range(11)))
