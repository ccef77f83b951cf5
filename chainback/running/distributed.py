"""A request run over several hosts: each process runs its share in a supervised worker, and all end with one report.

A worker knows nothing of the other hosts, and dies and is replaced as ever. Each share is kept in a folder beside the
report, too.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chainback.errors import ChainbackError
from chainback.judging.run_totals import RunTotals
from chainback.processes.hosts import Hosts
from chainback.processes.watch import Progress
from chainback.reporting.report import Report
from chainback.reporting.shards import join
from chainback.running.request import Request
from chainback.running.supervised import verify_in_worker

__all__ = ["verify_on_hosts"]

_WAITING = "waiting for the other processes"
#: Seconds that the other processes have to receive their shares, once this one has all.
_FAREWELL_S = 30.0


def verify_on_hosts(request: Request, progress: Progress, started_at: datetime) -> Report:
    """Run this process's share of a request, and return the report of all, which says in `process` which this is.

    Raises:
        UsageError: The others were not met, or the request cannot be run.
        ChainbackError: Another process is gone. What this one counted is in its folder.
    """
    address = {name: getattr(request, name) for name in ("coordinator", "processes", "process", "patience")}
    with Hosts(**address) as hosts:
        progress(0, 0, _WAITING)
        hosts.join()
        mine = _share_of(request, hosts.index, hosts.count)
        try:
            report = verify_in_worker(mine, progress, started_at)
            if mine.output is not None:
                report.write(mine.output)
        except ChainbackError as error:
            with contextlib.suppress(ChainbackError):
                hosts.exchange(_packed({"failed": str(error)}))
            raise
        cases = report.environment["cases"]
        progress(cases, cases, _WAITING)
        try:
            shares = hosts.exchange(_packed({"facts": report.environment, "counts": report.counts}))
        except ChainbackError as error:
            kept = (
                ""
                if mine.output is None
                else f"; what this one counted is in {mine.output}: run all again with --resume"
            )
            raise ChainbackError(f"process {hosts.index} of {hosts.count} lost the others ({error}){kept}") from None
        hosts.close(patience=_FAREWELL_S)
    report = _joined([json.loads(zlib.decompress(share)) for share in shares])
    return replace(report, environment=report.environment | {"process": hosts.index})


def _share_of(request: Request, index: int, count: int) -> Request:
    """Return the request of one process's share: a shard, which keeps its report in a folder of its own."""
    alone = {"distributed": False, "coordinator": None, "processes": None, "process": None, "junit": None}
    folder = None if request.output is None else Path(request.output) / f"shard-{index + 1}-of-{count}"
    return replace(request, shard=f"{index + 1}/{count}", output=folder, supervised=True, **alone)


def _packed(share: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(share).encode())


def _joined(shares: list[dict[str, Any]]) -> Report:
    """Return the report of all shares, and what became of those that are missing."""
    failed = {index: share["failed"] for index, share in enumerate(shares) if "failed" in share}
    there = [(f"process {index}", share) for index, share in enumerate(shares) if index not in failed]
    report = join(
        (name, share["facts"], lambda share=share: RunTotals.from_json(share["counts"])) for name, share in there
    )
    facts: dict[str, Any] = {
        "elapsed_s": max(share["facts"]["elapsed_s"] for _, share in there),
        "hosts": [share["facts"]["devices"] for _, share in there],
    }
    if failed:
        reasons = [f"process {index} failed: {reason}" for index, reason in failed.items()]
        facts["stopped"] = "; ".join([report.environment["stopped"], *reasons])
    return replace(report, environment=report.environment | facts)
