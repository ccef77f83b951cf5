"""A process of its own that is told things, and answers: pickled objects over its standard input and output.

Nothing here imports JAX: the process that listens needs none.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Child", "answering"]

#: Seconds that a process which was killed has to let go of its output: a child of its own may hold it.
_LET_GO_S = 5.0


class Child:
    """Such a process, as seen by the one that started it.

    Attributes:
        process: The process.
        inbox: What it answered, as pairs (kind, content); ("closed", None) once there is nothing more to come.
    """

    def __init__(self, code: str, **options: Any) -> None:
        """Start Python on some code, with options of `subprocess.Popen`, and tell it where modules are found."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
        )
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.tell(sys.path)

    def tell(self, message: Any) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it may be dead already
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                self.inbox.put(pickle.load(self.process.stdout))
        self.inbox.put(("closed", None))

    def close(self, patience: float | None = None) -> None:
        """Make sure that it is gone; on request give it time to end by itself."""
        if patience is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self._reader.join(_LET_GO_S)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None


def answering() -> Callable[[tuple[str, Any]], None]:
    """Be such a process: find modules where the other does, and return what answers it, from any thread.

    What is printed from now on goes to standard error.
    """
    channel, lock = os.fdopen(os.dup(1), "wb"), threading.Lock()
    os.dup2(2, 1)

    def send(message: tuple[str, Any]) -> None:
        with lock:
            pickle.dump(message, channel)
            channel.flush()

    sys.path[:] = pickle.load(sys.stdin.buffer)
    return send
