"""The commands. Each is a public function of the same name, its options parsed and its outcome made an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import chainback
from chainback.cli.options import Names, WholeNumber, engines_of, request_options
from chainback.cli.output import (
    OPEN,
    PICTURES,
    annotate,
    leave_page,
    name_files,
    name_report,
    open_page,
    progress_bar,
    to_log,
)
from chainback.cli.verify import verify
from chainback.environment import start_jax
from chainback.errors import BuildError, ChainbackError
from chainback.reporting.ci import announce
from chainback.reporting.pages.html import text
from chainback.reporting.pages.sections import markdown as in_markdown
from chainback.reporting.pages.show import read_report
from chainback.versions.environments import Job

__all__ = ["main"]


_WHERE = "Where to run: cpu, gpu, gpu:1, …  [default: JAX's own choice]"
_OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for the CSV files.",
)


class _Picture(click.Path):
    """A file for a picture: refused at once, not when all is done."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if Path(value).suffix not in (".html", ".svg", ".png"):
            self.fail(f"{value!r} is no picture: end it in .html, .svg or .png", param, ctx)
        return super().convert(value, param, ctx)


def _picture(what: str) -> Callable[..., Any]:
    return click.option("--picture", type=_Picture(), help=f"Draw {what}, too: .html, .svg or .png.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chainback")
def cli() -> None:
    """Are the gradients that this JAX, on this device, computes right?

    Exit codes: 0 accepted, 1 rejected, 2 bad usage, 3 nothing could be decided, 4 a planted fault escaped, 5 an environment
    could not be built.
    """


cli.add_command(verify)


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUTPUT
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


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@PICTURES
@OPEN
def show(folder: Path, pictures: str | None, show: bool) -> int:
    """Show the report in FOLDER again: print it, write its page anew, on request its charts as pictures.

    Exit codes: those of the run that wrote it, or 2 where it cannot be read or drawn.
    """
    report = read_report(folder)
    report.print(Console())
    leave_page(report, folder / "report.html", show=show, pictures=pictures)
    name_files([folder / "report.html"])
    return report.exit_code


_MARKDOWN = click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")


@cli.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--false-alarm",
    type=float,
    default=1e-6,
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
@_MARKDOWN
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
    _show(found, markdown)
    leave_page(found, _beside(output), show=show, quiet=markdown, pictures=pictures)
    name_files([output, _beside(output)], quiet=markdown)
    return found.exit_code


def _beside(table: Path) -> Path:
    return table.with_name(table.name.removesuffix(".csv") + ".html")


_JOB = [
    click.option(
        "--cases", type=WholeNumber(), default=20_000, show_default=True, help="Chains in all, the same everywhere."
    ),
    click.option("--seed", type=WholeNumber(), default=0, show_default=True, help="Decides which chains."),
    click.option("--ensembles", default="all", show_default=True, help="Families of chains: names or all."),
    click.option("--engines", default="all", show_default=True, help="Built-in engines: names, all or none."),
    click.option("--engine", "own", multiple=True, metavar="MODULE:NAME", help="An engine of your own."),
    click.option("--functions/--no-functions", default=True, help="Sweep every elementary function.  [default: yes]"),
    click.option("--platform", default="", help=_WHERE),
    click.option("--xla-flags", default="", help="For XLA_FLAGS, everywhere."),
    click.option("--pre", is_flag=True, help="Release candidates and nightly builds count, where the index has them."),
    click.option(
        "--cache", type=click.Path(path_type=Path), help="For environments and results.  [default: the user's cache]"
    ),
]


def _with_job(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_JOB):
        command = option(command)
    return command


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--reason", default="", help="Why it is to be taken though something is worse; kept with it.")
@click.option("--cases", type=WholeNumber(), help="Chains in all.  [default: as before, at first 20,000]")
@click.option("--seed", type=WholeNumber(), help="Decides which chains.  [default: as before, at first 0]")
@click.option("--platform", help=_WHERE)
@_MARKDOWN
@OPEN
def baseline(
    folder: Path, reason: str, cases: int | None, seed: int | None, platform: str | None, markdown: bool, show: bool
) -> int:
    """Run the gate, and keep its report in FOLDER as what later runs are compared with.

    Where something is worse than in the one that is there, it is kept only with a --reason. What changed stands in
    FOLDER/comparison.html in any case.
    Exit codes: 0 taken, 1 something is worse, 3 the run was not accepted or not finished.
    """
    with progress_bar(quiet=False) as tell:
        found = chainback.baseline(folder, reason=reason, cases=cases, seed=seed, platform=platform, progress=tell)
    if found.taken:
        leave_page(found.report, folder / "report.html", show=show and found.comparison is None, quiet=markdown)
    if found.comparison is not None:
        _show(found.comparison, markdown)
        leave_page(found.comparison, folder / "comparison.html", show=show, quiet=markdown)
    if found.taken:
        click.echo(name_report(folder), err=markdown)
    if found.comparison is not None:
        name_files([folder / "comparison.html"], quiet=markdown)
    click.echo(found.sentence)
    return found.exit_code


@cli.command()
@click.option("--from", "old", default="installed", show_default=True, metavar="VERSION", help="The JAX to come from.")
@click.option("--to", "new", multiple=True, metavar="VERSION", help="To go to; repeatable.  [default: newest]")
@_with_job
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-upgrade"),
    show_default=True,
    help="Folder for the reports, the comparisons and their pages.",
)
@_MARKDOWN
@OPEN
def upgrade(
    old: str, new: tuple[str, ...], pre: bool, cache: Path | None, output: Path, markdown: bool, show: bool, **job: Any
) -> int:
    """Run the same cases under two or more versions of JAX, each in an environment of its own, and compare.

    Exit codes: 0 nothing is worse, 1 something is, 5 an environment could not be built.
    """
    found = chainback.upgrade(old, new or ("newest",), job=Job(**job), pre=pre, cache=cache, output=output, tell=_say)
    _show(found, markdown)
    for comparison, page in zip(found.comparisons.values(), found.pages(output), strict=True):
        if not markdown:
            to_log(text(comparison))
        if show:
            open_page(page)
    reports = [output / run.jax / "report.html" for run in (found.old, *found.new)]
    name_files([*reports, *found.pages(output)], quiet=markdown)
    return found.exit_code


@cli.command()
@click.option("--good", required=True, metavar="VERSION", help="A JAX that is as it should be.")
@click.option("--bad", required=True, metavar="VERSION", help="One that is not.")
@click.option(
    "--metric",
    type=click.Choice(["verdict", "drift", "digest"]),
    help="What changed.  [default: the first of these that differs]",
)
@click.option("--case", default="", metavar="CASE_ID", help="Run this one case only.")
@click.option("--rows", default="", metavar="TEXT", help="Look only at rows in whose name this occurs, such as gelu.")
@_with_job
def bisect(good: str, bad: str, metric: str | None, rows: str, pre: bool, cache: Path | None, **job: Any) -> int:
    """Find the release of JAX in which a verdict, a drift or the bits of a result first changed.

    Exit codes: 0 it was found, 3 there is nothing to find, 5 an environment could not be built.
    """
    found = chainback.bisect(good, bad, metric=metric, rows=rows, job=Job(**job), pre=pre, cache=cache, tell=_say)
    found.print(Console())
    return found.exit_code


@cli.command()
@click.option(
    "--versions",
    type=Names(),
    default=(),
    help="Versions of JAX, oldest first.  [default: each minor release from 0.4.30 on]",
)
@_with_job
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-history"),
    show_default=True,
    help="Folder for the tables and the page.",
)
@_picture("it")
@OPEN
def history(
    versions: tuple[str, ...], pre: bool, cache: Path | None, output: Path, picture: Path | None, show: bool, **job: Any
) -> int:
    """Run the same cases under release after release of JAX, and say what each changed.

    Exit codes: 0 done, 5 an environment could not be built.
    """
    names = tuple(versions) if versions != "all" else ()
    found = chainback.history(names, job=Job(**job), pre=pre, cache=cache, output=output, tell=_say)
    found.print(Console())
    to_log(in_markdown(found.sections(None)))
    if show:
        open_page(output / "history.html")
    if picture is not None:
        _pictures().save(_pictures().draw_history(found.engines()), picture)
    name_files([output / "README.md", output / "history.html", *filter(None, (picture,))])
    return found.exit_code


def _pictures() -> Any:
    try:
        return chainback.reporting.pages.drawings
    except ModuleNotFoundError as error:
        raise ChainbackError(
            f"cannot draw pictures: {error.name} is not there: pip install 'chainback[pictures]'"
        ) from None


def _say(what: str) -> None:
    click.echo(f"{what} …", err=True)


def _show(found: Any, markdown: bool) -> None:
    if markdown:
        click.echo(found.markdown())
    else:
        found.print(Console())
    worse = [(f"{row['outcome']}: {row['row']}", f"{row['moved']} {row['note']}".strip()) for row in found.worse]
    announce(found.markdown(), worse, click.echo)


@cli.command()
@click.argument("case_id")
@request_options("engines")
@click.option("--platform", help=_WHERE)
def replay(case_id: str, engines: Any, own: tuple[str, ...], platform: str | None) -> int:
    """Run one case again: layer by layer, shrunk to the smallest chain that fails, with a reproducer."""
    start_jax()
    again = chainback.replay(case_id, engines=engines_of(engines, own), platform=platform)
    again.print(Console())
    return again.exit_code


@cli.command()
@click.argument("case")
@_picture("the matrices and the steps")
def explain(case: str, picture: Path | None) -> None:
    """Show the extended Jacobian of one small case, and solve it step by step: forward mode, and reverse mode.

    CASE is a case id, or MODULE:NAME of a chainback.Case(chain, x, y) of your own.
    """
    start_jax()
    found = chainback.explain(case)
    found.print(Console())
    if picture is not None:
        _pictures().save(_pictures().draw_matrices(found.matrices), picture)
        name_files([picture])


@cli.command()
@click.option(
    "--cases", type=WholeNumber(), default=1000, show_default=True, help="Chains that each faulty engine is given."
)
@click.option("--seed", type=WholeNumber(), default=0, show_default=True, help="Decides which chains.")
@click.option("--platform", help=_WHERE)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for audit.csv, detection.csv and bias.csv, and with --peers for peers.csv and peers_sweep.csv.",
)
@click.option(
    "--peers", is_flag=True, help="Show the faults to check_grads, and to gradcheck where PyTorch is, as well."
)
def audit(cases: int, seed: int, platform: str | None, output: Path, peers: bool) -> int:
    """Plant named faults in engines and see which of them the gate catches."""
    start_jax()
    with progress_bar(quiet=False) as tell:
        found = chainback.audit(cases=cases, seed=seed, platform=platform, output=output, progress=tell)
        beside = (
            _module("studies.other_checkers").side_by_side(seed=seed, output=output, progress=tell) if peers else None
        )
    found.print(Console())
    if beside is not None:
        beside.print(Console())
    return found.exit_code


@cli.command()
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the tables.  [default: none are written]")
@_picture("it")
def lecture(output: Path | None, picture: Path | None) -> int:
    """Run the lecture from which chainback grew, and set its printed figures beside what comes out here.

    Exit codes: 0 all agree, 1 one does not.
    """
    start_jax()
    draw = _pictures() if picture is not None else None
    with progress_bar(quiet=False) as tell:
        found = chainback.lecture(output=output, progress=tell)
    found.print(Console())
    if draw is not None and picture is not None:
        draw.save(draw.draw_lecture(found.drift, found.depth, found.layers, found.approximations), picture)
        name_files([picture])
    return found.exit_code


@cli.command()
@click.option("--only", type=Names(), default=(), help="Names of rows.  [default: all]")
@click.option("--quick", is_flag=True, help="Measure smaller things, in seconds: no matter for the targets.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("chainback-report"),
    show_default=True,
    help="Folder for bench.csv and bench.json.",
)
def bench(only: tuple[str, ...], quick: bool, output: Path) -> int:
    """Measure how fast all of this is: every ratio side by side in one run, beside its target.

    Rows: million, components, batch, triangular, training, memory, cases, depth, gpu.
    Exit codes: 0 every target is met, 1 one is missed, 3 nothing was measured of which anything is asked.
    """
    start_jax()
    with progress_bar(quiet=False) as tell:
        found = _module("studies.benchmarks").bench(
            only=() if only == "all" else only, quick=quick, output=output, progress=tell
        )
    found.print(Console())
    return found.exit_code


def _module(path: str) -> Any:
    """Import a module of chainback when its command runs: `--help` should not wait for JAX."""
    return importlib.import_module(f"chainback.{path}")


def main() -> None:
    """Run the command line and exit with the outcome's code."""
    # An engine named package.module:name is looked for where the command is run, as `python -m` would.
    sys.path.insert(0, "")
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Abort:
        code = 3
    except click.ClickException as error:
        _complain(error.format_message())
        code = 2
    except BuildError as error:
        _complain(str(error))
        code = 5
    except ChainbackError as error:
        _complain(str(error))
        code = 2
    except KeyboardInterrupt:
        code = 3
    sys.exit(code)


def _complain(sentence: str) -> None:
    click.echo(f"chainback: {sentence}", err=True)
