"""`chainback verify`: its options are the arguments of a `Request`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from chainback.cli.options import OPEN, request_of, request_options
from chainback.cli.output import annotate, leave_page, name_report, progress_bar
from chainback.processes.hosts import verify_on_hosts
from chainback.processes.worker import supervise
from chainback.reporting.report import replay_command

__all__ = ["verify"]


@click.command()
@request_options()
@click.option("--quiet", is_flag=True, help="Print the verdict and what was rejected, no table and no progress.")
@OPEN
def verify(quiet: bool, show: bool, **arguments: Any) -> int:
    """Draw random chains, compute their gradients by every engine, judge every component."""
    request = request_of(**arguments, supervised=True)
    asked = {
        name: value for name, value in vars(request).items() if name not in ("supervised", "distributed", "patience")
    }
    others = {name: asked.pop(name) for name in ("coordinator", "processes", "process")}
    with progress_bar(quiet) as progress:
        if request.on_hosts:
            report = verify_on_hosts(**others, **asked, progress=progress)
        else:
            report = supervise(**asked, progress=progress)
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
