"""What changed, section by section: from one report to another, and over a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from chainback.judging.judgement import Verdict
from chainback.reporting.rows import records
from chainback.reporting.sections.section import MOST_ROWS, Charts, Section, Table
from chainback.reporting.text import fact_text, number

if TYPE_CHECKING:
    from chainback.reporting.comparison import Comparison

__all__ = ["comparison_sections", "history_sections"]

#: (title, lead, column of `engines.csv`, axis) of what is drawn by version.
_BY_VERSION = (
    ("Errors", "The root mean square error in u: the median over ensembles and shapes.", "error_u_rms", "error, u"),
    ("Speed", "Nanoseconds a layer and case, batched.", "run_ns_per_layer", "ns"),
)
_BITS = "The distinct results of each engine, in the order of their appearance, each of a colour; ✕ is rejected."
_NO_ROW = "no row"
#: How many rows that are not worse are listed: they are printed, too.
_MOST_OTHERS = 60
_TITLES = {"margin_max": "Margins, old against new", "error_u_rms": "Errors, old against new"}
_LEADS = {
    "margin_max": "The largest error / bound of each row; above 1 it is wrong, above 10³ it is drawn as 10³.",
    "error_u_rms": "The root mean square error of each row, in u; above 10¹² it is drawn as that.",
}


def comparison_sections(comparison: Comparison) -> list[Section]:
    """Return the sections of a comparison, without empty ones."""
    made = (
        Section("Rows by outcome", "How many rows of each table came to what.", [comparison.counts()]),
        _verdicts(comparison),
        _changed(comparison, worse=True),
        _old_against_new(comparison, "margin_max"),
        _old_against_new(comparison, "error_u_rms"),
        _changed(comparison, worse=False),
        _environments(comparison),
    )
    return [section for section in made if section is not None]


def _any_moved(comparison: Comparison) -> bool:
    """Whether any row has other bits than before: only then are there charts."""
    return any(row["outcome"] != "identical" for row in records(comparison.frame))


def _verdicts(comparison: Comparison) -> Section | None:
    """Count the verdicts of both sides, table by table: a gate's outcome before, and now."""
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for row in records(comparison.frame):
        for side, counter in zip(("old", "new"), counts.setdefault(row["table"], (Counter(), Counter())), strict=True):
            counter[row[f"verdict_{side}"] or _NO_ROW] += 1
    words = [*map(str, Verdict), _NO_ROW]
    found = [word for word in words if any(word in counter for pair in counts.values() for counter in pair)]
    rows, better = [], []
    for table, (old, new) in counts.items():
        rows.append([table, *(f"{old[v]:,}" if old[v] == new[v] else f"{old[v]:,} → {new[v]:,}" for v in found)])
        better.append([0, *(new[v] - old[v] for v in found)])
    wrong = found.index(str(Verdict.REJECTED)) + 1 if str(Verdict.REJECTED) in found else 0

    def mark(row: int, column: int) -> str:
        change = better[row][column] if column == wrong else 0
        return "worse" if change > 0 else "accepted" if change < 0 else ""

    lead = "How many rows of each table had which verdict, before and now; one number where nothing changed."
    return Section("Verdicts", lead, [Table(("table", *found), rows, mark=mark)]) if rows else None


def _changed(comparison: Comparison, worse: bool) -> Section | None:
    """List the rows that got worse, open, or what else changed, folded."""
    rows = [row for row in comparison.notable() if bool(row["worse"]) is worse]
    listed = [
        [
            ("WORSE " if worse else "") + row["outcome"],
            f"{row['table']}: {row['row']}",
            "; ".join(filter(None, (row["moved"], row["note"]))),
            *(f"{number(row[f'{name}_old'])} → {number(row[f'{name}_new'])}" for name in ("margin_max", "error_u_rms")),
        ]
        for row in rows[: MOST_ROWS if worse else _MOST_OTHERS]
    ]
    if not listed:
        return None
    more = f" The first {len(listed)} of {len(rows):,}; all are in comparison.csv." if len(rows) > len(listed) else ""
    table = Table(("outcome", "row", "what moved", "margin", "rms u"), listed)
    if worse:
        lead = f"Rejected or known to be wrong where they were not, drifted away from zero, or missing.{more}"
        return Section("What got worse", lead, [table])
    lead = f"Neither as they were nor within their bounds, and not worse: drifted towards zero, mended, new.{more}"
    return Section("What else changed", lead, (), [table])


def _old_against_new(comparison: Comparison, figure_of: str) -> Section | None:
    """Return how many rows rose and fell in a figure, and a chart of old against new."""
    rows, old, new = [], f"{figure_of}_old", f"{figure_of}_new"
    frame: Any = comparison.frame
    for table, its in frame.groupby("table", sort=False):
        both = its[its[[old, new]].notna().all(axis=1)]
        if len(both) and _any_moved(comparison):
            rose, fell = (both[new] > both[old]), (both[new] < both[old])
            factors = (both[new] / both[old].where(both[old] > 0)).dropna()
            least, most = (number(factors.min()), number(factors.max())) if len(factors) else ("–", "–")
            rows.append([str(table), f"{len(both):,}", f"{rose.sum():,}", f"{fell.sum():,}", least, most])
    if not rows:
        return None
    lead = (
        f"{_LEADS[figure_of]} Above the dotted diagonal it rose. Tables without a chart have the same bits as before."
    )
    header = ("table", "rows", "rose", "fell", "least new / old", "most new / old")

    def draw(charts: Any) -> Charts:
        return Charts(charts.old_against_new(frame, figure_of), charts.legend_of_changes(frame))

    return Section(_TITLES[figure_of], lead, folded=[Table(header, rows)], draw=draw)


def _environments(comparison: Comparison) -> Section | None:
    facts = dict.fromkeys((*comparison.old.environment, *comparison.new.environment))
    both = [(comparison.old.environment.get(name), comparison.new.environment.get(name)) for name in facts]
    other = [[name, fact_text(a), fact_text(b)] for name, (a, b) in zip(facts, both, strict=True) if a != b]
    lead = "What produced the two reports; facts that are the same are left out."
    return Section("Environments", lead, (), [Table(("fact", "old", "new"), other)]) if other else None


def history_sections(
    versions: Table, changes: Sequence[Sequence[str]], engines: pd.DataFrame, moving: Sequence[Table]
) -> list[Section]:
    """Return the sections of a history.

    Args:
        versions: A row for each version.
        changes: (version, what it changed).
        engines: The rows of `engines.csv`.
        moving: The errors of sweeps that moved, named by the table they are of.
    """
    lead = (
        "Rows are counted against the version before: identical (same bits), within bound, drifted, mended, rejected."
    )
    found = [Section("Versions", f"{lead} The time of a layer is the median of all engines.", [versions])]
    if len(engines):
        names, ran = list(dict.fromkeys(engines["engine"])), list(dict.fromkeys(engines["jax"]))
        for title, lead, column, axis in _BY_VERSION:
            cells = engines.pivot(index="engine", columns="jax", values=column).reindex(names)[ran]
            rows = [[name, *map(number, row)] for name, row in zip(names, cells.to_numpy(), strict=True)]
            draw = partial(_draw_by_version, engines, column, axis)
            found.append(Section(title, lead, folded=[Table(("engine", *ran), rows)], draw=draw))
        numbers = Table(("engine", *ran), _numbered(engines, names, ran))
        found.append(Section("Bits", _BITS, folded=[numbers], draw=lambda charts: Charts({"": charts.bits(engines)})))
    if changes:
        found.append(Section("What changed", "Against the version before.", [Table(("jax", "what"), changes)]))
    for table in moving:
        lead = "Root mean square in u, where it moved by half or a verdict changed."
        found.append(Section(f"Errors of {table.name} that moved", lead, [replace(table, name="")]))
    return found


def _draw_by_version(engines: pd.DataFrame, column: str, axis: str, charts: Any) -> Charts:
    names = list(dict.fromkeys(engines["engine"]))
    return Charts({"": charts.by_version(engines, column, axis)}, charts.legend_of_engines(names)[: len(names)])


def _numbered(engines: pd.DataFrame, names: Sequence[str], versions: Sequence[str]) -> list[list[str]]:
    """Return, for each engine, the number of its result under each version, by the order of their appearance."""
    found = []
    for name in names:
        seen: dict[str, int] = {}
        its = {row["jax"]: row for row in records(engines) if row["engine"] == name}
        cells = [
            f"{seen.setdefault(its[jax]['digest'], len(seen) + 1)}{' ✕' * (its[jax]['verdict'] == Verdict.REJECTED)}"
            if jax in its
            else ""
            for jax in versions
        ]
        found.append([name, *cells])
    return found
