"""`upgrade`, `bisect`, `history` and `baseline`: the same cases under other versions of JAX, or at another time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import chainback
from chainback.cli.options import (
    MARKDOWN,
    OPEN,
    PLATFORM,
    Names,
    WholeNumber,
    picture_option,
    request_of,
    request_options,
)
from chainback.cli.output import (
    annotate_comparison,
    drawings,
    leave_page,
    name_files,
    name_report,
    open_page,
    print_step,
    progress_bar,
    to_log,
)
from chainback.environment import user_cache
from chainback.reporting.pages.html import text
from chainback.reporting.sections.section import markdown as in_markdown
from chainback.versions.environments import Environments

__all__ = ["baseline", "bisect", "history", "upgrade"]

_OPTIONS = (
    click.option(
        "--cases", type=WholeNumber(), default=20_000, show_default=True, help="Chains in all, the same everywhere."
    ),
    request_options("seed", "ensembles", "engines", "platform"),
    click.option("--functions/--no-functions", default=True, help="Sweep every elementary function.  [default: yes]"),
    click.option("--xla-flags", default="", help="For XLA_FLAGS, everywhere."),
    click.option("--pre", is_flag=True, help="Release candidates and nightly builds count, where the index has them."),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        default=user_cache,
        help="For environments and results.  [default: the user's cache]",
    ),
)


def with_request(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say what is run under every version, and where: the arguments of `_study`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _study(*, pre: bool, cache: Path, xla_flags: str, **asked: Any) -> dict[str, Any]:
    """Return the arguments that a study of versions takes: what to run, and where."""
    return {"request": request_of(**asked), "environments": Environments(cache, pre, xla_flags, print_step)}


@click.command()
@click.option("--from", "old", default="installed", show_default=True, metavar="VERSION", help="The JAX to come from.")
@click.option("--to", "new", multiple=True, metavar="VERSION", help="To go to; repeatable.  [default: newest]")
@with_request
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-upgrade"),
    show_default=True,
    help="Folder for the reports, the comparisons and their pages.",
)
@MARKDOWN
@OPEN
def upgrade(old: str, new: tuple[str, ...], output: Path, markdown: bool, show: bool, **study: Any) -> int:
    """Run the same cases under two or more versions of JAX, each in an environment of its own, and compare.

    Exit codes: 0 nothing is worse, 1 something is, 5 an environment could not be built.
    """
    found = chainback.upgrade(old, new or ("newest",), output=output, **_study(**study))
    annotate_comparison(found, markdown)
    for comparison, page in zip(found.comparisons.values(), found.pages(output), strict=True):
        if not markdown:
            to_log(text(comparison))
        if show:
            open_page(page)
    reports = [output / run.jax / "report.html" for run in found.runs]
    name_files([*reports, *found.pages(output)], quiet=markdown)
    return found.exit_code


@click.command()
@click.option("--good", required=True, metavar="VERSION", help="A JAX that is as it should be.")
@click.option("--bad", required=True, metavar="VERSION", help="One that is not.")
@click.option(
    "--metric",
    type=click.Choice(["verdict", "drift", "digest"]),
    help="What changed.  [default: the first of these that differs]",
)
@click.option("--case", metavar="CASE_ID", help="Run this one case only.")
@click.option("--rows", default="", metavar="TEXT", help="Look only at rows in whose name this occurs, such as gelu.")
@with_request
def bisect(good: str, bad: str, metric: str | None, rows: str, case: str | None, functions: bool, **study: Any) -> int:
    """Find the release of JAX in which a verdict, a drift or the bits of a result first changed.

    Exit codes: 0 it was found, 3 there is nothing to find, 5 an environment could not be built.
    """
    study |= {"case": case, "functions": functions and case is None}
    found = chainback.bisect(good, bad, metric=metric, rows=rows, **_study(**study))
    found.print(Console())
    return found.exit_code


@click.command()
@click.option(
    "--versions",
    type=Names(),
    default=(),
    help="Versions of JAX, oldest first.  [default: each minor release from 0.4.30 on]",
)
@with_request
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-history"),
    show_default=True,
    help="Folder for the tables and the page.",
)
@picture_option("it")
@OPEN
def history(versions: tuple[str, ...], output: Path, picture: Path | None, show: bool, **study: Any) -> int:
    """Run the same cases under release after release of JAX, and say what each changed.

    Exit codes: 0 done, 5 an environment could not be built.
    """
    names = tuple(versions) if versions != "all" else ()
    found = chainback.history(names, output=output, **_study(**study))
    found.print(Console())
    to_log(in_markdown(found.sections()))
    if show:
        open_page(output / "history.html")
    if picture is not None:
        draw = drawings()
        draw.save(draw.draw_history(found.engines()), picture)
    name_files([output / "README.md", output / "history.html", *filter(None, (picture,))])
    return found.exit_code


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--reason", default="", help="Why it is to be taken though something is worse; kept with it.")
@click.option("--cases", type=WholeNumber(), help="Chains in all.  [default: as before, at first 20,000]")
@click.option("--seed", type=WholeNumber(), help="Decides which chains.  [default: as before, at first 0]")
@PLATFORM
@MARKDOWN
@OPEN
def baseline(
    folder: Path, reason: str, cases: int | None, seed: int | None, platform: str | None, markdown: bool, show: bool
) -> int:
    """Run the gate, and keep its report in FOLDER as what later runs are compared with.

    Where something is worse than in the one that is there, it is kept only with a --reason. What changed stands in
    FOLDER/comparison.html in any case.
    Exit codes: 0 taken, 1 something is worse, 3 the run was not accepted or not finished.
    """
    with progress_bar(quiet=False) as progress:
        found = chainback.baseline(folder, reason=reason, cases=cases, seed=seed, platform=platform, progress=progress)
    if found.taken:
        leave_page(found.report, folder / "report.html", show=show and found.comparison is None, quiet=markdown)
    if found.comparison is not None:
        annotate_comparison(found.comparison, markdown)
        leave_page(found.comparison, folder / "comparison.html", show=show, quiet=markdown)
    if found.taken:
        click.echo(name_report(folder), err=markdown)
    if found.comparison is not None:
        name_files([folder / "comparison.html"], quiet=markdown)
    click.echo(found.sentence)
    return found.exit_code
