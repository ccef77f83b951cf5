"""The commands. Each is a public function of the same name, its options parsed and its outcome made an exit code."""

from __future__ import annotations

import importlib
import os
import re
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import chainback
from chainback.environment import start_jax
from chainback.errors import BuildError, ChainbackError
from chainback.operations.arithmetic import ARITHMETICS
from chainback.processes.hosts import verify_on_hosts
from chainback.processes.worker import supervise
from chainback.reporting.ci import announce
from chainback.reporting.pages.html import text, write_page
from chainback.reporting.pages.sections import markdown as in_markdown
from chainback.reporting.pages.show import FORMATS, read_report, write_pictures
from chainback.reporting.report import REPORT_FILES, replay_command
from chainback.versions.environments import Job

__all__ = ["main"]


class _Whole(click.ParamType):
    """A whole number, also written 1e6 or 1_000_000."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = float(value)
            if number != int(number):
                raise ValueError
            return int(value) if str(value).strip().lstrip("-").isdigit() else int(number)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no whole number", param, ctx)


class _Numbers(click.ParamType):
    """Whole numbers as 1,2,4 or 1-24, or both."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        try:
            for part in str(value).split(","):
                first, dash, last = part.strip().partition("-")
                low = _Whole().convert(first, param, ctx)
                high = _Whole().convert(last, param, ctx) if dash else low
                if high < low or high - low > 10_000:
                    raise ValueError
                numbers.extend(range(low, high + 1))
        except ValueError:
            self.fail(f"{value!r} are no numbers: write them as 1,2,4 or 1-24", param, ctx)
        return tuple(numbers)


class _Names(click.ParamType):
    """Names, separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in ("all", "none"):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail("name at least one, or say all or none", param, ctx)
        return names


_ENGINES = [
    click.option(
        "--engines", type=_Names(), default="all", show_default=True, help="Built-in engines: names, all or none."
    ),
    click.option(
        "--engine", "own", multiple=True, metavar="MODULE:NAME", help="An engine of your own; may be given repeatedly."
    ),
]

_WHERE = "Where to run: cpu, gpu, gpu:1, …  [default: JAX's own choice]"
_COMPARED = "Where to run: cpu, gpu, gpu:1, …; several, as cpu,gpu, are compared.  [default: JAX's own choice]"
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


_PICTURES = click.option(
    "--pictures",
    type=click.Choice(FORMATS),
    help="Write each chart of the page as a picture, too, into a folder beside it.",
)
_OPEN = click.option("--open", "show", is_flag=True, help="Open the page in the browser.")


def _with_engines(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_ENGINES):
        command = option(command)
    return command


def _engines(engines: Any, own: tuple[str, ...]) -> Any:
    if not own:
        return engines
    named = tuple(chainback.ENGINES) if engines == "all" else () if engines == "none" else tuple(engines)
    return (*named, *own)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chainback")
def cli() -> None:
    """Are the gradients that this JAX, on this device, computes right?

    Exit codes: 0 accepted, 1 rejected, 2 bad usage, 3 nothing could be decided, 4 a planted fault escaped, 5 an environment
    could not be built.
    """


class _Seconds(click.ParamType):
    """A time, as 90s, 30m, 8h or 2d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time: write it as 90s, 30m, 8h or 2d", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@cli.command()
@click.option("--cases", type=_Whole(), help="Chains in all; 1e6 is understood.  [default: 20000; with --for no limit]")
@click.option("--for", "duration", type=_Seconds(), help="Begin no further batch after that time: 90s, 30m, 8h, 2d.")
@click.option("--resume", is_flag=True, help="Go on with the unfinished run in the output folder.")
@click.option("--seed", type=_Whole(), default=0, show_default=True, help="Decides which chains.")
@click.option(
    "--depths",
    type=_Numbers(),
    help="Depths, as 1,8 or 1-24; at most eight of them run.  [default: by ensemble]",
)
@click.option("--widths", type=_Numbers(), help="Widths, likewise, but all of them run.  [default: by ensemble]")
@click.option("--ensembles", type=_Names(), default="all", show_default=True, help="Families of chains: names or all.")
@_with_engines
@click.option("--platform", help=_COMPARED)
@click.option(
    "--truth",
    default="numpy",
    show_default=True,
    help="What works out the truth of batches: numpy, or a device, as gpu, checked by NumPy on one in sixteen.",
)
@click.option(
    "--judged-as",
    type=click.Choice(list(ARITHMETICS)),
    help="Whose bounds answers are to keep, such as float32 on a GPU that multiplies in TF32.  [default: the device's]",
)
@_OUTPUT
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit file, too.")
@click.option(
    "--sharp-floor",
    type=float,
    help="Share of an engine's components to be judged sharply, or it is undecided.  [default: a tenth]",
)
@click.option(
    "--time-limit",
    type=float,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="That one compilation, or one batch of one engine, may take.",
)
@click.option(
    "--memory-limit", type=float, metavar="GB", help="That the run may hold.  [default: four fifths of the machine's]"
)
@click.option("--case", metavar="CASE_ID", help="Run this one case, in its batch and alone, instead of many.")
@click.option("--shard", metavar="K/M", help="Run the K-th of M parts of the same cases; `merge` joins their reports.")
@click.option(
    "--distributed", is_flag=True, help="Share the run out among the processes that jax.distributed finds, one a host."
)
@click.option(
    "--coordinator", metavar="HOST:PORT", help="Of process 0, where JAX does not find out; with the next two."
)
@click.option("--processes", type=click.IntRange(1), metavar="N", help="How many share the run.")
@click.option("--process", type=click.IntRange(0), metavar="K", help="Which of them this is, from 0.")
@click.option(
    "--functions", is_flag=True, help="Sweep every elementary function, too; with --engines none, these alone."
)
@click.option("--quiet", is_flag=True, help="Print the verdict and what was rejected, no table and no progress.")
@_OPEN
def verify(
    cases: int | None,
    seed: int,
    depths: tuple[int, ...] | None,
    widths: tuple[int, ...] | None,
    ensembles: Any,
    engines: Any,
    own: tuple[str, ...],
    platform: str | None,
    truth: str,
    judged_as: str | None,
    output: Path,
    junit: Path | None,
    sharp_floor: float | None,
    time_limit: float,
    memory_limit: float | None,
    case: str | None,
    shard: str | None,
    distributed: bool,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    functions: bool,
    quiet: bool,
    show: bool,
    duration: float | None,
    resume: bool,
) -> int:
    """Draw random chains, compute their gradients by every engine, judge every component."""
    floor: dict[str, Any] = {} if sharp_floor is None else {"sharp_floor": sharp_floor}
    others = {"coordinator": coordinator, "processes": processes, "process": process}
    others = {name: value for name, value in others.items() if value is not None}
    run = partial(verify_on_hosts, **others) if distributed or others else supervise
    with _progress(quiet) as tell:
        report = run(
            time_limit=time_limit,
            memory_limit=None if memory_limit is None else memory_limit * 1e9,
            engines=_engines(engines, own),
            ensembles=ensembles,
            cases=cases,
            duration=duration,
            resume=resume,
            seed=seed,
            depths=depths,
            widths=widths,
            platform=platform,
            truth=truth,
            judged_as=judged_as,
            case=case,
            shard=shard,
            functions=functions,
            output=output,
            junit=junit,
            progress=tell,
            **floor,
        )
    report.print(Console(), brief=quiet or bool(report.environment.get("process")))
    if report.environment.get("process"):  # the report is written by process 0
        return report.exit_code
    _announce(report)
    _leave_page(report, output / "report.html", show=show, quiet=quiet)
    if report.rejections:
        first = report.rejections[0]
        click.echo(f"Look closer: {replay_command(report.environment, first.case_id, first.engine)}")
    if not quiet:
        click.echo(_wrote(output))
    return report.exit_code


def _leave_page(what: Any, path: Path, *, show: bool, quiet: bool = False, pictures: str | None = None) -> None:
    """Write a page, show it where that is asked for, and say its facts in a CI's log, where nobody sees pages."""
    write_page(what, path)
    if pictures:
        drawn = write_pictures(what, path, pictures)
        told = f"Drew {len(drawn)} pictures in {drawn[0].parent}." if drawn else "The page has no charts to draw."
        click.echo(told, err=quiet)
    if not quiet:
        _to_the_log(text(what))
    if show:
        _open(path)


def _to_the_log(said: str) -> None:
    if os.environ.get("CI"):
        click.echo(said)


def _open(page: Path) -> None:
    webbrowser.open(page.resolve().as_uri())


def _announce(report: Any) -> None:
    wrong = [(f"{item.engine} is wrong ({item.execution})", str(item)) for item in report.rejections]
    wrong = wrong or ([] if report.accepted else [("chainback", f"the gate is {report.verdict}")])
    announce(report.markdown(), wrong, click.echo)


def _written(files: Sequence[Path], quiet: bool = False) -> None:
    """Name the files that were written; beside Markdown, which is for a pull request, not where that goes."""
    named = [str(file) for file in files if file.exists()]
    if named:
        click.echo(f"Wrote {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}.", err=quiet)


def _wrote(output: Path) -> str:
    files = [name for name in REPORT_FILES if (output / name).exists()]
    return f"Wrote {output}/{', '.join(files[:-1])} and {files[-1]}."


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUTPUT
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit file, too.")
@_OPEN
def merge(folders: tuple[Path, ...], output: Path, junit: Path | None, show: bool) -> int:
    """Join the reports of a run's shards into what one run would have written."""
    report = chainback.merge(folders, output=output)
    if junit is not None:
        report.write_junit(junit)
    report.print(Console())
    _announce(report)
    _leave_page(report, output / "report.html", show=show)
    click.echo(_wrote(output))
    return report.exit_code


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_PICTURES
@_OPEN
def show(folder: Path, pictures: str | None, show: bool) -> int:
    """Show the report in FOLDER again: print it, write its page anew, on request its charts as pictures.

    Exit codes: those of the run that wrote it, or 2 where it cannot be read or drawn.
    """
    report = read_report(folder)
    report.print(Console())
    _leave_page(report, folder / "report.html", show=show, pictures=pictures)
    _written([folder / "report.html"])
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
@_PICTURES
@_OPEN
def compare(
    old: Path, new: Path, false_alarm: float, output: Path, markdown: bool, pictures: str | None, show: bool
) -> int:
    """Say what changed from the report OLD to the report NEW: folders, or their tolerance.csv.

    A page of the same name as the file for the rows, .html, is written beside it.

    Exit codes: 0 nothing is worse, 1 something is, 2 they cannot be compared, 3 the new run was not finished.
    """
    found = chainback.compare(old, new, false_alarm=false_alarm, output=output)
    _show(found, markdown)
    _leave_page(found, _beside(output), show=show, quiet=markdown, pictures=pictures)
    _written([output, _beside(output)], quiet=markdown)
    return found.exit_code


def _beside(table: Path) -> Path:
    return table.with_name(table.name.removesuffix(".csv") + ".html")


_JOB = [
    click.option(
        "--cases", type=_Whole(), default=20_000, show_default=True, help="Chains in all, the same everywhere."
    ),
    click.option("--seed", type=_Whole(), default=0, show_default=True, help="Decides which chains."),
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
@click.option("--cases", type=_Whole(), help="Chains in all.  [default: as before, at first 20,000]")
@click.option("--seed", type=_Whole(), help="Decides which chains.  [default: as before, at first 0]")
@click.option("--platform", help=_WHERE)
@_MARKDOWN
@_OPEN
def baseline(
    folder: Path, reason: str, cases: int | None, seed: int | None, platform: str | None, markdown: bool, show: bool
) -> int:
    """Run the gate, and keep its report in FOLDER as what later runs are compared with.

    Where something is worse than in the one that is there, it is kept only with a --reason. What changed stands in
    FOLDER/comparison.html in any case.
    Exit codes: 0 taken, 1 something is worse, 3 the run was not accepted or not finished.
    """
    with _progress(quiet=False) as tell:
        found = chainback.baseline(folder, reason=reason, cases=cases, seed=seed, platform=platform, progress=tell)
    if found.taken:
        _leave_page(found.report, folder / "report.html", show=show and found.comparison is None, quiet=markdown)
    if found.comparison is not None:
        _show(found.comparison, markdown)
        _leave_page(found.comparison, folder / "comparison.html", show=show, quiet=markdown)
    if found.taken:
        click.echo(_wrote(folder), err=markdown)
    if found.comparison is not None:
        _written([folder / "comparison.html"], quiet=markdown)
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
@_OPEN
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
            _to_the_log(text(comparison))
        if show:
            _open(page)
    reports = [output / run.jax / "report.html" for run in (found.old, *found.new)]
    _written([*reports, *found.pages(output)], quiet=markdown)
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
    type=_Names(),
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
@_OPEN
def history(
    versions: tuple[str, ...], pre: bool, cache: Path | None, output: Path, picture: Path | None, show: bool, **job: Any
) -> int:
    """Run the same cases under release after release of JAX, and say what each changed.

    Exit codes: 0 done, 5 an environment could not be built.
    """
    names = tuple(versions) if versions != "all" else ()
    found = chainback.history(names, job=Job(**job), pre=pre, cache=cache, output=output, tell=_say)
    found.print(Console())
    _to_the_log(in_markdown(found.sections(None)))
    if show:
        _open(output / "history.html")
    if picture is not None:
        _pictures().save(_pictures().draw_history(found.engines()), picture)
    _written([output / "README.md", output / "history.html", *filter(None, (picture,))])
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
@_with_engines
@click.option("--platform", help=_WHERE)
def replay(case_id: str, engines: Any, own: tuple[str, ...], platform: str | None) -> int:
    """Run one case again: layer by layer, shrunk to the smallest chain that fails, with a reproducer."""
    start_jax()
    again = chainback.replay(case_id, engines=_engines(engines, own), platform=platform)
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
        _written([picture])


@cli.command()
@click.option(
    "--cases", type=_Whole(), default=1000, show_default=True, help="Chains that each faulty engine is given."
)
@click.option("--seed", type=_Whole(), default=0, show_default=True, help="Decides which chains.")
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
    with _progress(quiet=False) as tell:
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
    with _progress(quiet=False) as tell:
        found = chainback.lecture(output=output, progress=tell)
    found.print(Console())
    if draw is not None and picture is not None:
        draw.save(draw.draw_lecture(found.drift, found.depth, found.layers, found.approximations), picture)
        _written([picture])
    return found.exit_code


@cli.command()
@click.option("--only", type=_Names(), default=(), help="Names of rows.  [default: all]")
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
    with _progress(quiet=False) as tell:
        found = _module("studies.benchmarks").bench(
            only=() if only == "all" else only, quick=quick, output=output, progress=tell
        )
    found.print(Console())
    return found.exit_code


def _module(path: str) -> Any:
    """Import a module of chainback when its command runs: `--help` should not wait for JAX."""
    return importlib.import_module(f"chainback.{path}")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


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
