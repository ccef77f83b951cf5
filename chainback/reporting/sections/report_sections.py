"""The sections of a report: the one list behind terminal, Markdown, JUnit and page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from chainback.judging.judgement import Verdict
from chainback.operations.arithmetic import FLOAT32
from chainback.reporting.rows import Row, engine_verdict, figure, grouped, records, sharp_share
from chainback.reporting.sections.depth_sections import by_depth, by_ensemble
from chainback.reporting.sections.row_groups import MOST_ALARMS, RowGroup, section_of
from chainback.reporting.sections.section import MOST_ROWS, JunitCase, Section, Table
from chainback.reporting.sections.sweep_sections import activations, functions
from chainback.reporting.text import fact_text, number, replay_command

if TYPE_CHECKING:
    from chainback.reporting.report import Report

__all__ = ["ENGINE_COLUMNS", "report_sections"]

#: Of the table of engines.
ENGINE_COLUMNS = ("engine", "cases", "margin", "max u", "p99 u", "sharp", "verdict")
#: How many rows a table of the worst shows.
_WORST = 12


def report_sections(report: Report) -> list[Section]:
    """Return the sections of a report, in their order; those of tables without rows are empty."""
    return [
        _engines(report),
        _worst_cases(report),
        *by_depth(report.tolerance),
        *by_ensemble(report.tolerance),
        _steps(report.steps),
        _agreement(report.agreement, list(report.environment.get("platforms", {}))),
        activations(report.activations, report.curves),
        functions(report.functions),
        _environment(report.environment),
    ]


def _engines(report: Report) -> Section:
    rows, floor = records(report.tolerance), report.sharp_floor
    table = [_engine_cells(engine, its, floor) for engine, its in grouped(rows, "engine").items()]
    return Section(
        "Engines",
        _caption(report.environment),
        [Table(ENGINE_COLUMNS, table)] if table else [],
        sentences=[*_left_undecided(rows), *_blunt(rows, floor), *_declined(rows)],
        tests=[
            JunitCase(
                row["engine"],
                f"{row['ensemble']} {row['depth']}x{row['width']} {row['execution']}",
                row["verdict"],
                row["note"] or row["verdict"],
                row["run_s"],
            )
            for row in rows
        ],
    )


def _engine_cells(engine: str, rows: Sequence[Row], sharp_floor: float) -> list[str]:
    judged = [row for row in rows if row["verdict"] != str(Verdict.NOT_RUN) and not np.isnan(row["margin_max"])]
    share = sharp_share(rows)
    return [
        engine,
        f"{sum(row['cases'] for row in rows):,}",
        number(max((row["margin_max"] for row in judged), default=float("nan"))),
        number(np.nanmax([row["error_u_max"] for row in judged]) if judged else float("nan")),
        number(np.nanmedian([row["error_u_p99"] for row in judged]) if judged else float("nan")),
        "–" if np.isnan(share) else f"{share:.1%}",
        str(engine_verdict(rows, sharp_floor)),
    ]


def _caption(environment: dict[str, Any]) -> str:
    """Return what the columns of the table of engines are."""
    platforms = environment.get("platforms", {"": environment})
    sharp = {name: round(1 / facts.get("sharp_bound", FLOAT32.sharp_bound)) for name, facts in platforms.items()}
    alike = len(set(sharp.values())) == 1
    shares = [f"1/{share}{'' if alike else f' on {name}'}" for name, share in sharp.items()]
    return (
        "margin: largest error / bound. u: error in units of 2^-24 of the truth, the largest and the 99th percentile "
        f"(median over rows). sharp: share of the components whose bound is at most "
        f"{shares[0] if alike else ', '.join(shares)} of the truth."
    )


def _left_undecided(rows: Sequence[Row]) -> Iterator[str]:
    if undecided := sum(row["undecided"] for row in rows):
        why = "some order of evaluation overflows there, or underflow outweighs the gradient"
        yield f"{undecided:,} results were left undecided: {why}."


def _blunt(rows: Sequence[Row], floor: float) -> Iterator[str]:
    for engine, its in grouped(rows, "engine").items():
        if (share := sharp_share(its)) < floor:
            yield f"{engine}: {share:.1%} of its components were judged sharply, less than {floor:.0%}."


def _declined(rows: Sequence[Row]) -> Iterator[str]:
    declined = [row for row in rows if row["verdict"] == str(Verdict.NOT_RUN)]
    for engine, its in grouped(declined, "engine").items():
        for note, where in grouped(its, "note").items():
            shapes = ", ".join(dict.fromkeys(f"{row['depth']}x{row['width']}" for row in where))
            yield f"{engine} was not run at {shapes}: {note}."


def _worst_cases(report: Report) -> Section:
    """Return which cases were rejected, or came closest to their bounds, and how to run each again."""
    again = partial(replay_command, report.environment)
    tables, folded = [], []
    if report.rejections:
        wrong = [
            (item.case_id, item.engine, item.execution, item.sentence, again(item.case_id, item.engine))
            for item in report.rejections[:MOST_ROWS]
        ]
        header = ("case", "engine", "execution", "what is wrong", "look closer")
        tables.append(Table(header, wrong[:_WORST], "Rejected"))
        if more := wrong[_WORST:]:
            rest = len(report.rejections) - len(wrong)
            left_out = f"; {rest:,} others stand in rejections.csv" if rest else ""
            folded.append(Table(header, more, f"Rejected, {len(more):,} more{left_out}"))
    rows = [row for row in records(report.tolerance) if row.get("worst_case")]
    rows.sort(key=lambda row: -figure(row, "margin_max"))
    cases: dict[str, list[str]] = {}
    for row in rows:
        figures = [row["engine"], row["execution"], number(row["margin_max"]), number(row["error_u_max"])]
        cases.setdefault(row["worst_case"], [row["worst_case"], *figures, again(row["worst_case"], row["engine"])])
    if cases:
        header = ("case", "engine", "execution", "margin", "max u", "replay")
        tables.append(Table(header, list(cases.values())[:_WORST], "Closest to their bound, or beyond it"))
    alarms = [f"REJECTED {rejection}" for rejection in report.rejections[:MOST_ALARMS]]
    if (more := len(report.rejections) - MOST_ALARMS) > 0:
        alarms.append(f"and in {more} batches more: see rejections.csv.")
    lead = "A case is rebuilt from its id alone. Replay shows it layer by layer, and shrinks one that fails."
    return Section("Worst cases", lead, tables, folded, alarms=alarms)


def _steps(frame: Any) -> Section:
    steps = grouped(records(frame), "judged")
    section = section_of(
        "Steps",
        RowGroup("linearisations", steps.get("linearisation", [])),
        RowGroup("substitutions on the computed system", steps.get("substitution", [])),
        RowGroup("truths of another oracle, against NumPy's", steps.get("truth", [])),
    )
    if frame.empty:
        return section
    table = []
    for (judged, engine), its in frame.groupby(["judged", "engine"]):
        sharper = number(its["sharper_p50"].median()) if judged == "substitution" else "–"
        counts = its["verdict"].value_counts()
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        decided = its[its["verdict"] != str(Verdict.UNDECIDED)]
        table.append([str(judged), str(engine), number(decided["margin_max"].max()), sharper, verdicts])
    leads = {
        "substitution": "The triangular engines show their system: its linearisation is judged against the truth, its "
        "substitution against the exact solution of what they computed, by a bound so many times sharper than the "
        "gradient's (median).",
        "truth": "A device computed the truth and the bounds: they are judged against NumPy's, to 2⁻²⁰ of each bound.",
    }
    lead = " ".join(lead for judged, lead in leads.items() if judged in steps)
    return replace(section, lead=lead, tables=[Table(("judged", "engine", "margin", "sharper", "rows"), table)])


def _agreement(frame: Any, platforms: Sequence[str]) -> Section:
    """Return which engines give the same bits, as a matrix that prints and needs no script."""
    rows = records(frame)
    across = list(_across_platforms(rows, platforms))
    section = section_of("Agreement of the engines", RowGroup("pairs of engines", rows), sentences=across)
    if frame.empty:
        return section
    shares: dict[tuple[str, str], tuple[float, int]] = {}
    for (a, b), its in frame.groupby(["engine_a", "engine_b"]):
        components = int(its["components"].sum())
        same = float((its["identical"].fillna(0.0) * its["components"]).sum()) / components if components else np.nan
        shares[a, b] = shares[b, a] = (same, int(its["disagreeing"].sum()))
    names = list(dict.fromkeys([*frame["engine_a"], *frame["engine_b"]]))
    cells = [[shares.get((a, b), (np.nan, 0)) for b in names] for a in names]
    table = [[f"{i + 1} {a}", *map(_share_text, cells[i])] for i, a in enumerate(names)]
    header = ("", *(str(i + 1) for i in range(len(names))))
    lead = (
        "Share of the components on which two engines give the same bits; behind a ✕, if any, how many differ by more than "
        "their two bounds together."
    )
    return replace(section, lead=lead, tables=[Table(header, table, mark=partial(_shade, cells))])


def _across_platforms(rows: Sequence[Row], platforms: Sequence[str]) -> Iterator[str]:
    """Yield, for each two platforms, how well the engines on one agree with themselves on the other."""
    for one, other in combinations(platforms, 2):
        pairs = [row for row in rows if row["components"] and _same_engine(row, one, other)]
        if components := sum(row["components"] for row in pairs):
            same = sum(row["identical"] * row["components"] for row in pairs) / components
            apart = max(row["margin_max"] for row in pairs)
            yield (
                f"{one} and {other}: the same engine gives the same bits on both in {same:.1%} of the components; "
                f"elsewhere they differ by at most {number(apart)} of the sum of their bounds."
            )


def _same_engine(row: Row, one: str, other: str) -> bool:
    """Whether a row of `agreement.csv` compares an engine on one platform with itself on another."""
    (a, _, at_a), (b, _, at_b) = (str(row[name]).rpartition("@") for name in ("engine_a", "engine_b"))
    return a == b and (at_a, at_b) == (one, other)


def _share_text(cell: tuple[float, int]) -> str:
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


def _environment(environment: dict[str, Any]) -> Section:
    rows = [[name, fact_text(fact)] for name, fact in environment.items() if name != "processor"]
    processor = environment.get("processor", {})
    rows += [[f"processor, {name}", fact_text(fact)] for name, fact in processor.items()]
    alarms = [f"The run went on in a new process: {death}." for death in environment.get("worker_deaths", ())]
    alarms += [f"UNEXPLAINED: {death}." for death in environment.get("unexplained", ())]
    tests = []
    if not environment.get("complete", False):
        alarms.append(f"INCOMPLETE: {environment.get('stopped', 'the run was interrupted')}.")
        tests.append(JunitCase("", "the run is complete", "error", str(environment.get("stopped", "interrupted"))))
    left_out = environment.get("left_out")
    return Section(
        "Environment",
        "What produced this report.",
        folded=[Table(("fact", "value"), rows)],
        sentences=[f"Not covered: {left_out}."] if left_out else [],
        alarms=alarms,
        tests=tests,
    )
