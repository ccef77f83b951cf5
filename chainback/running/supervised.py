"""A request run in a supervised worker, so that what it tests cannot end it: the supervisor's side, and the worker's."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from chainback.environment import start_jax
from chainback.errors import ChainbackError
from chainback.processes.watch import Interruption, Progress, Watch
from chainback.processes.worker import StartError, supervise
from chainback.reporting.report import Report
from chainback.running.request import Request

__all__ = ["run", "verify_in_worker"]


def verify_in_worker(request: Request, progress: Progress, started_at: datetime) -> Report:
    """Run a request in a worker. A step that a worker did not survive counts as rejected.

    Raises:
        UsageError: The request cannot be run.
        ChainbackError: JAX does not start, or chainback itself failed.
    """
    start = time.perf_counter()
    with Interruption() as interruption:
        try:
            outcome = supervise(
                "campaign",
                (request, started_at),
                time_limit=request.time_limit,
                memory_limit=request.memory_limit,
                progress=progress,
                publish=None if request.output is None else partial(Report.write, folder=request.output),
                interruption=interruption,
            )
        except StartError as error:
            raise ChainbackError(f"JAX does not start here: {error}; what it said stands above") from None
    report: Report = outcome.result
    facts: dict[str, Any] = {}
    if not request.resume:  # what a resumed run took all in all, only its worker knows
        facts["elapsed_s"] = round(time.perf_counter() - start, 3)
    if outcome.deaths:
        facts["worker_deaths"] = list(outcome.deaths)
    # With a step to blame a death is a rejection. Without one, something died and nothing says that it will not again.
    if outcome.unexplained:
        facts["unexplained"] = list(outcome.unexplained)
    return replace(report, environment=report.environment | facts)


def run(arguments: tuple[Request, datetime], state: Any, watch: Watch) -> Report:
    """Run a request, in the worker."""
    start_jax()
    from chainback.running.campaign import run_campaign

    request, started_at = arguments
    return run_campaign(request, watch, watch.progress, started_at, state)
