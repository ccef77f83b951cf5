"""One run on several hosts: each process runs its share of the cases on its own devices, and all end with one report.

Who the others are, and how they are reached, is JAX's business (`jax.distributed`). It is done in a process of its own, the
link (`gathering`), which tests nothing: where a process of `jax.distributed` dies, JAX ends all the others, so that an
engine which crashes on one host would end the run on every one, and seem to have crashed there as well. So a worker knows
nothing of the other hosts, and dies and is replaced as ever. The links meet every second; when all shares are counted they
exchange them. Nothing has to be shared but the network; each share is kept in a folder beside the report, too.

Nothing here imports JAX.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainback.errors import ChainbackError, UsageError
from chainback.judging.run_totals import RunTotals
from chainback.processes.child_process import Child
from chainback.processes.worker import supervise
from chainback.reporting.report import REPORT_FILES, Report, writable_folder
from chainback.reporting.shards import join

__all__ = ["verify_on_hosts"]

_LINK = "from chainback.running.host_link import serve; serve()"
#: Seconds that all processes have to join.
PATIENCE_S = 300.0
#: Seconds without a meeting after which the others are taken for lost.
_SILENCE_S = 300.0
_POLL_S = 0.1
#: Variables that would give the link other devices than the one processor that it needs.
_NOT_FOR_LINKS = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_PLATFORM_NAME", "JAX_ENABLE_X64")


class _Link:
    """The process that speaks to those of the other hosts, as seen from here."""

    def __init__(self, asked: dict[str, Any]) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_LINKS}
        self._child = Child(
            _LINK,
            stderr=subprocess.DEVNULL,  # what JAX has to say of a lost process fills pages
            env=kept | {"JAX_PLATFORMS": "cpu"},
        )
        self._child.tell(asked)

    def joined(self, patience: float) -> tuple[int, int]:
        """Wait for all processes to join; return which of how many this is, from 0.

        Raises:
            UsageError: They did not.
        """
        kind, content = self._await(patience)
        if kind == "joined":
            return content
        raise UsageError(
            f"the other processes were not met ({content}): start all of them, each with the same --coordinator and "
            "--processes and with a --process of its own, from 0, or under a cluster manager that JAX knows"
        )

    def exchange(self, share: bytes) -> list[bytes]:
        """Give this process's share, and return those of all, in their order, once each has given its own.

        Raises:
            ChainbackError: Another process is gone.
        """
        self._child.tell(share)
        kind, content = self._await(_SILENCE_S)
        if kind == "gathered":
            return content
        raise ChainbackError(content)

    def _await(self, patience: float) -> tuple[str, Any]:
        """Wait for the next answer, as long as the links go on meeting."""
        met = time.monotonic()
        while True:
            try:
                kind, content = self._child.inbox.get(timeout=_POLL_S)
            except queue.Empty:
                if time.monotonic() - met > patience:
                    return "failed", f"nothing was heard of them for {patience:g} s"
                continue
            if kind == "closed":
                return "failed", "their link broke off"
            if kind != "met":
                return kind, content
            met = time.monotonic()

    def close(self, patience: float | None = None) -> None:
        """Make sure that it is gone; on request let the others have their shares first."""
        self._child.close(patience)


@contextlib.contextmanager
def _link(asked: dict[str, Any]) -> Iterator[_Link]:
    link = _Link(asked)
    try:
        yield link
    finally:
        link.close()


def verify_on_hosts(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    patience: float = PATIENCE_S,
    output: str | os.PathLike[str] | None = None,
    junit: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **arguments: Any,
) -> Report:
    """Do what `supervise` does, together with other processes that call this with the same arguments: one on each host.

    Each runs its share of the cases on all of its own devices, as `shard` would.

    Args:
        coordinator: HOST:PORT at which process 0 is reached; default: as `jax.distributed.initialize` finds out under Slurm,
            Open MPI, Kubernetes and others.
        processes: How many there are; default likewise.
        process: Which of them this is, from 0; default likewise.
        patience: Seconds that all of them have to join.
        output: Folder that process 0 writes the report to. Every process keeps its share in a folder there, `shard-1-of-2`;
            the folder need not be the same on all hosts.
        junit: File that process 0 writes a JUnit report to.
        progress: As for `supervise`.
        **arguments: The others of `supervise`, but not `shard`.

    Returns:
        The report of all cases, on every process; `environment["process"]` says which this is. The share of a process that
        failed is missing, and the report incomplete.

    Raises:
        UsageError: The others were not met, or an argument cannot be used.
        ChainbackError: Another process is gone. What this one counted is in its folder.
    """
    if arguments.pop("shard", None) is not None:
        raise UsageError("`shard` cannot be chosen where each process takes its own: leave it out")
    if output is not None:
        writable_folder(output, REPORT_FILES)
    if junit is not None:
        writable_folder(Path(junit).parent, (Path(junit).name,))
    tell = progress or (lambda done, total, what: None)
    asked = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    with _link({name: value for name, value in asked.items() if value is not None} | {"patience": patience}) as link:
        tell(0, 0, "waiting for the other processes")
        index, count = link.joined(patience + 30.0)
        folder = None if output is None else Path(output) / f"shard-{index + 1}-of-{count}"
        try:
            report = supervise(shard=f"{index + 1}/{count}", output=folder, progress=tell, **arguments)
        except ChainbackError as error:
            with contextlib.suppress(ChainbackError):
                link.exchange(_packed({"failed": str(error)}))
            raise
        cases = report.environment["cases"]
        tell(cases, cases, "waiting for the other processes")
        try:
            shares = link.exchange(_packed({"facts": report.environment, "counts": report.counts}))
        except ChainbackError as error:
            kept = "" if folder is None else f"; what this one counted is in {folder}: run all again with --resume"
            raise ChainbackError(f"process {index} of {count} lost the others ({error}){kept}") from None
        link.close(patience=30.0)
    report = _joined([json.loads(zlib.decompress(share)) for share in shares])
    report = replace(report, environment=report.environment | {"process": index})
    if index == 0 and output is not None:
        report.write(output)
    if index == 0 and junit is not None:
        report.write_junit(junit)
    return report


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
