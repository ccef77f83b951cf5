"""`merge`, `show` and `compare`: what is done with reports that are written."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

import chainback
from chainback.cli.options import MARKDOWN, OPEN, OUTPUT, PICTURES
from chainback.cli.output import annotate, annotate_comparison, leave_page, name_files, name_report
from chainback.judging.statistics import FALSE_ALARM
from chainback.reporting.report import Report

__all__ = ["compare", "merge", "show"]


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@OUTPUT
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit file, too.")
@OPEN
def merge(folders: tuple[Path, ...], output: Path, junit: Path | None, show: bool) -> int:
    """Join the reports of a run's shards into what one run would have written."""
    report = chainback.merge(folders, output=output)
    if junit is not None:
        report.write_junit(junit)
    report.print(Console())
    annotate(report)
    leave_page(report, output / "report.html", show=show)
    click.echo(name_report(output))
    return report.exit_code


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@PICTURES
@OPEN
def show(folder: Path, pictures: str | None, show: bool) -> int:
    """Show the report in FOLDER again: print it, write its page anew, on request its charts as pictures.

    Exit codes: those of the run that wrote it, or 2 where it cannot be read or drawn.
    """
    report = Report.read(folder)
    report.print(Console())
    leave_page(report, folder / "report.html", show=show, pictures=pictures)
    name_files([folder / "report.html"])
    return report.exit_code


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--false-alarm",
    type=float,
    default=FALSE_ALARM,
    show_default=True,
    metavar="PROBABILITY",
    help="That chance alone makes any row look drifted.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("comparison.csv"),
    show_default=True,
    help="File for the rows.",
)
@MARKDOWN
@PICTURES
@OPEN
def compare(
    old: Path, new: Path, false_alarm: float, output: Path, markdown: bool, pictures: str | None, show: bool
) -> int:
    """Say what changed from the report OLD to the report NEW: folders, or their tolerance.csv.

    A page of the same name as the file for the rows, .html, is written beside it.

    Exit codes: 0 nothing is worse, 1 something is, 2 they cannot be compared, 3 the new run was not finished.
    """
    found = chainback.compare(old, new, false_alarm=false_alarm, output=output)
    annotate_comparison(found, markdown)
    leave_page(found, _page_beside(output), show=show, quiet=markdown, pictures=pictures)
    name_files([output, _page_beside(output)], quiet=markdown)
    return found.exit_code


def _page_beside(table: Path) -> Path:
    return table.with_name(table.name.removesuffix(".csv") + ".html")
