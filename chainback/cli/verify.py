"""`chainback verify`: its options are the arguments of a `Request`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

import chainback
from chainback.cli.options import OPEN, request_of, request_options
from chainback.cli.output import annotate, leave_page, name_report, progress_bar
from chainback.reporting.text import replay_command

__all__ = ["verify"]


@click.command()
@request_options()
@click.option("--quiet", is_flag=True, help="Print the verdict and what was rejected, no table and no progress.")
@OPEN
def verify(quiet: bool, show: bool, **arguments: Any) -> int:
    """Draw random chains, compute their gradients by every engine, judge every component."""
    request = request_of(**arguments, supervised=True)
    with progress_bar(quiet) as progress:
        report = chainback.verify(request, progress=progress)
    report.print(Console(), brief=quiet or bool(report.environment.get("process")))
    if report.environment.get("process"):  # process 0 writes the report
        return report.exit_code
    annotate(report)
    output = arguments["output"]
    leave_page(report, output / "report.html", show=show, quiet=quiet)
    if report.rejections:
        first = report.rejections[0]
        click.echo(f"Look closer: {replay_command(report.environment, first.case_id, first.engine)}")
    if not quiet:
        click.echo(name_report(output))
    return report.exit_code
