"""What commands print and leave behind: progress, pages, files, annotations of a CI."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chainback.errors import ChainbackError
from chainback.reporting.ci import announce
from chainback.reporting.pages.html import text, write_page
from chainback.reporting.pages.show import write_pictures
from chainback.reporting.schema import REPORT_FILES

__all__ = [
    "annotate",
    "annotate_comparison",
    "drawings",
    "leave_page",
    "name_files",
    "name_report",
    "open_page",
    "print_step",
    "progress_bar",
    "to_log",
]


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def leave_page(what: Any, path: Path, *, show: bool, quiet: bool = False, pictures: str | None = None) -> None:
    """Write a page, open it where that is asked for, and print its facts into a CI's log, where pages are not seen."""
    write_page(what, path)
    if pictures:
        written = write_pictures(what, path, pictures)
        summary = (
            f"Drew {len(written)} pictures in {written[0].parent}." if written else "The page has no charts to draw."
        )
        click.echo(summary, err=quiet)
    if not quiet:
        to_log(text(what))
    if show:
        open_page(path)


def to_log(lines: str) -> None:
    """Print in a CI only."""
    if os.environ.get("CI"):
        click.echo(lines)


def open_page(page: Path) -> None:
    """Open a page in the browser."""
    webbrowser.open(page.resolve().as_uri())


def annotate(report: Any) -> None:
    """Annotate a CI's run with what was rejected, and write its step summary."""
    wrong = [(f"{item.engine} is wrong ({item.execution})", str(item)) for item in report.rejections]
    wrong = wrong or ([] if report.accepted else [("chainback", f"the gate is {report.verdict}")])
    announce(report.markdown(), wrong, click.echo)


def annotate_comparison(found: Any, markdown: bool) -> None:
    """Print a comparison, as text or as Markdown; annotate a CI's run with what is worse, and write its step summary."""
    if markdown:
        click.echo(found.markdown())
    else:
        found.print(Console())
    worse = [(f"{row['outcome']}: {row['row']}", f"{row['moved']} {row['note']}".strip()) for row in found.worse]
    announce(found.markdown(), worse, click.echo)


def name_files(files: Sequence[Path], quiet: bool = False) -> None:
    """Name the files that were written; beside Markdown, which is for a pull request, not where that goes."""
    named = [str(file) for file in files if file.exists()]
    if named:
        click.echo(f"Wrote {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}.", err=quiet)


def name_report(output: Path) -> str:
    """Return the sentence that names the files of a report."""
    files = [name for name in REPORT_FILES if (output / name).exists()]
    return f"Wrote {output}/{', '.join(files[:-1])} and {files[-1]}."


def print_step(what: str) -> None:
    """Print what is being done, to stderr."""
    click.echo(f"{what} …", err=True)


def drawings() -> Any:
    """Return the module that draws pictures.

    Raises:
        ChainbackError: plotly is not installed.
    """
    try:
        from chainback.reporting.pages import drawings
    except ModuleNotFoundError as error:
        raise ChainbackError(
            f"cannot draw pictures: {error.name} is not there: pip install 'chainback[pictures]'"
        ) from None
    return drawings
