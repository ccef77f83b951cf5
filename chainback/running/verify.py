"""`verify`: a request run in this process, in a supervised worker, or over several hosts. JAX is imported where it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from chainback.processes.watch import Progress, Watch, no_progress
from chainback.reporting.files import writable_folder
from chainback.reporting.report import Report
from chainback.reporting.schema import REPORT_FILES
from chainback.running.distributed import verify_on_hosts
from chainback.running.request import Request
from chainback.running.supervised import verify_in_worker

__all__ = ["verify"]


def verify(
    request: Request | None = None,
    /,
    *,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **arguments: Any,
) -> Report:
    """Draw random chains, compute their gradients by every engine, and judge every component.

    Args:
        request: What to run, where the report goes, and how to run it; default: `Request()`.
        progress: Called as the run goes on, with (cases done, cases in all, what is being done).
        clock: Tells the time that the report states.
        **arguments: Those of `Request`, in place of the request's own.

    Returns:
        The report. After KeyboardInterrupt it holds what was finished, and is marked incomplete. Of a run on several hosts
        each process gets the report of all cases, and `environment["process"]` says which this is; the share of a process
        that failed is missing, and the report incomplete.

    Raises:
        UsageError: An argument cannot be used, the unfinished run is another one, or the other hosts were not met.
        ChainbackError: Another host is gone. What this one counted is in its folder.
    """
    request = replace(request or Request(), **arguments)
    if request.output is not None:
        writable_folder(request.output, REPORT_FILES)
    if request.junit is not None:
        writable_folder(Path(request.junit).parent, (Path(request.junit).name,))
    run = verify_on_hosts if request.on_hosts else verify_in_worker if request.supervised else _verify_here
    report = run(request, progress or no_progress, clock())
    if not report.environment.get("process"):  # of several hosts, process 0 writes the report
        if request.output is not None:
            report.write(request.output)
        if request.junit is not None:
            report.write_junit(request.junit)
    return report


def _verify_here(request: Request, progress: Progress, started_at: datetime) -> Report:
    from chainback.running.campaign import run_campaign

    watch = Watch(publish=None if request.output is None else partial(Report.write, folder=request.output))
    with watch.interruption:
        return run_campaign(request, watch, progress, started_at)


def _with_the_arguments_of_a_request(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature that `help` shows: every argument of a request, where the function takes any."""
    own, hints = inspect.signature(function, eval_str=True), get_type_hints(Request)
    named = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Request)
    ]
    kept = [parameter for parameter in own.parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    return own.replace(parameters=[*kept, *named])


verify.__signature__ = _with_the_arguments_of_a_request(verify)  # type: ignore[attr-defined]
