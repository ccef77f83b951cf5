"""The link of a run on several hosts: a process that joins `jax.distributed`, and exchanges what each has counted.

It tests nothing, so that no engine can end it, and runs on one processor whatever is tested: see `hosts`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from chainback.errors import sentence
from chainback.processes.child_process import answering

__all__ = ["serve"]

#: Seconds between two meetings.
_ROUND_S = 1.0
#: How JAX is told to let processors speak to each other, by the name of its option in newer versions and in older ones.
_COLLECTIVES = (("jax_cpu_collectives_implementation", "gloo"), ("jax_cpu_enable_gloo_collectives", True))


def serve() -> None:
    """Be a link: read from standard input whom to join, then this process's share; answer on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a run that was interrupted still gives what it counted
    send = answering()
    asked = pickle.load(sys.stdin.buffer)
    try:
        send(("joined", _join(asked.pop("patience"), asked)))
        share: list[bytes] = []
        threading.Thread(target=_listen, args=(sys.stdin.buffer, share), daemon=True).start()
        while not (sizes := _meet(len(share[0]) if share else -1)).min() >= 0:
            send(("met", None))
            time.sleep(_ROUND_S)
        send(("gathered", _exchange(share[0], sizes)))
        _meet(0)  # nobody leaves before everybody has everything
    except Exception as error:
        send(("failed", sentence(error)))
    os._exit(0)  # nothing that JAX would say on the way out is of use


def _listen(supervisor: BinaryIO, share: list[bytes]) -> None:
    try:
        while True:
            share.append(pickle.load(supervisor))
    except (EOFError, OSError):
        os._exit(1)


def _join(patience: float, asked: dict[str, Any]) -> tuple[int, int]:
    """Join the other processes; return which of how many this is."""
    for name, value in _COLLECTIVES:
        with contextlib.suppress(AttributeError):
            jax.config.update(name, value)
            break
    jax.distributed.initialize(**asked, initialization_timeout=int(patience))
    return jax.process_index(), jax.process_count()


def _meet(size: int) -> np.ndarray:
    """Tell all processes the size of this one's share, −1 while there is none, and return what they tell, in their order."""
    return np.asarray(process_allgather(np.array([size], np.int32))).reshape(-1)


def _exchange(share: bytes, sizes: np.ndarray) -> list[bytes]:
    """Return the shares of all processes, in their order."""
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(share)] = np.frombuffer(share, np.uint8)
    found = np.asarray(process_allgather(padded)).reshape(sizes.size, -1)
    return [row[:size].tobytes() for row, size in zip(found, sizes, strict=True)]
