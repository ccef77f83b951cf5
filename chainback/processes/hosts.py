"""Processes on several hosts: they join, and exchange bytes once each has its share.

Who the others are, and how they are reached, is JAX's business (`jax.distributed`). It is done in a child process, the link
(`running.host_link`), which tests nothing: where a process of `jax.distributed` dies, JAX ends all the others, so that an
engine which crashes on one host would end the run on every one, and seem to have crashed there as well. The links meet every
second; when all shares are there they exchange them. Nothing has to be shared but the network.
"""

from __future__ import annotations

import os
import queue
import subprocess
import time
from typing import Any

from chainback.errors import ChainbackError, UsageError
from chainback.processes.child_process import Child

__all__ = ["Hosts"]

#: Seconds that the processes have to join, beyond their patience, before the link itself is taken for lost.
_GRACE_S = 30.0
#: Seconds without a meeting after which the other processes are taken for lost.
_SILENCE_S = 300.0
_POLL_S = 0.1
#: Variables that would give the link other devices than the one processor that it needs.
_NOT_FOR_LINKS = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_PLATFORM_NAME", "JAX_ENABLE_X64")


class Hosts:
    """The processes of a run on several hosts, as one of them sees them: a context that ends with its link.

    Attributes:
        index: Which of them this is, from 0, once they have joined.
        count: How many there are.
    """

    index: int
    count: int

    def __init__(self, *, coordinator: str | None, processes: int | None, process: int | None, patience: float) -> None:
        """Start to join the other processes.

        Args:
            coordinator: HOST:PORT at which process 0 is reached; None where JAX finds out.
            processes: How many there are, likewise.
            process: Which of them this is, likewise.
            patience: Seconds that all of them have to join.
        """
        address = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
        self._patience = patience
        self._child = Child(
            "host link",
            stderr=subprocess.DEVNULL,  # what JAX has to say of a lost process fills pages
            env={k: v for k, v in os.environ.items() if k not in _NOT_FOR_LINKS} | {"JAX_PLATFORMS": "cpu"},
        )
        self._child.send((patience, {name: value for name, value in address.items() if value is not None}))

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def join(self) -> None:
        """Wait for all processes to join.

        Raises:
            UsageError: They did not.
        """
        kind, content = self._await(self._patience + _GRACE_S)
        if kind != "joined":
            raise UsageError(
                f"the other processes were not met ({content}): start all of them, each with the same --coordinator and "
                "--processes and with a --process of its own, from 0, or under a cluster manager that JAX knows"
            )
        self.index, self.count = content

    def exchange(self, share: bytes) -> list[bytes]:
        """Send this process's share, and return those of all, in their order, once each has sent its own.

        Raises:
            ChainbackError: Another process is gone.
        """
        self._child.send(share)
        kind, content = self._await(_SILENCE_S)
        if kind == "gathered":
            return content
        raise ChainbackError(content)

    def _await(self, patience: float) -> tuple[str, Any]:
        """Wait for the link's next message, as long as the links go on meeting."""
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
        """End the link; with `patience` the others have so many seconds to receive their shares first."""
        self._child.close(patience)
