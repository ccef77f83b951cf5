"""The child process that joins `jax.distributed` for a run on several hosts, and exchanges what each has counted.

It tests nothing, so that no engine can end it, and runs on one processor whatever is tested: see `processes.hosts`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from chainback.errors import sentence
from chainback.processes.child_process import Parent

__all__ = ["serve"]

#: Seconds between two meetings.
_ROUND_S = 1.0
#: JAX's option for collectives between processors, by its name in newer and in older versions.
_COLLECTIVES = (("jax_cpu_collectives_implementation", "gloo"), ("jax_cpu_enable_gloo_collectives", True))


def serve(parent: Parent) -> None:
    """Be a link: receive how the others are reached, then this process's share; send the shares of all."""
    patience, address = parent.receive()
    try:
        parent.send(("joined", _join(patience, address)))
        share: list[bytes] = []
        threading.Thread(target=_listen, args=(parent, share), daemon=True).start()
        while not (sizes := _meet(len(share[0]) if share else -1)).min() >= 0:
            parent.send(("met", None))
            time.sleep(_ROUND_S)
        parent.send(("gathered", _exchange(share[0], sizes)))
        _meet(0)  # no process leaves before all have everything
    except Exception as error:
        parent.send(("failed", sentence(error)))
    os._exit(0)  # nothing that JAX would print on the way out is of use


def _listen(parent: Parent, share: list[bytes]) -> None:
    try:
        while True:
            share.append(parent.receive())
    except EOFError:
        os._exit(1)


def _join(patience: float, address: dict[str, Any]) -> tuple[int, int]:
    """Join the other processes; return which of how many this is."""
    for name, value in _COLLECTIVES:
        with contextlib.suppress(AttributeError):
            jax.config.update(name, value)
            break
    jax.distributed.initialize(**address, initialization_timeout=int(patience))
    return jax.process_index(), jax.process_count()


def _meet(size: int) -> np.ndarray:
    """Send all processes the size of this one's share, −1 while there is none; return what all sent, in their order."""
    return np.asarray(process_allgather(np.array([size], np.int32))).reshape(-1)


def _exchange(share: bytes, sizes: np.ndarray) -> list[bytes]:
    """Return the shares of all processes, in their order."""
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(share)] = np.frombuffer(share, np.uint8)
    found = np.asarray(process_allgather(padded)).reshape(sizes.size, -1)
    return [row[:size].tobytes() for row, size in zip(found, sizes, strict=True)]
