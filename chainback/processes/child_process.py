"""A child process that runs a function, and exchanges pickled objects with its parent over standard input and output."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["TARGETS", "Child", "Parent", "serve", "target"]

#: The functions that other processes run, by name: nothing else crosses a process as a string.
TARGETS = {
    "worker": "chainback.processes.worker:serve",
    "campaign": "chainback.running.supervised:run",
    "host link": "chainback.running.host_link:serve",
}
_CODE = "from chainback.processes.child_process import serve; serve()"
#: Seconds that a process which was killed has to let go of its output: a child of its own may hold it.
_LET_GO_S = 5.0


def target(name: str) -> Callable[..., Any]:
    """Return a function by its name in `TARGETS`, or by `module:function`."""
    module, _, function = TARGETS.get(name, name).partition(":")
    return getattr(importlib.import_module(module), function)


class Child:
    """A child process, as its parent sees it.

    Attributes:
        process: The process.
        inbox: What it sent, as pairs (kind, content); ("closed", None) once nothing more can come.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Start a process on a target, which is called with its `Parent`.

        Args:
            name: Of the target.
            **options: Of `subprocess.Popen`.
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
        )
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send((sys.path, name))

    def send(self, message: Any) -> None:
        """Send an object to the process."""
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
        """Make sure that the process is gone; with `patience` it has so many seconds to end by itself."""
        if patience is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self._reader.join(_LET_GO_S)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None


class Parent:
    """The process that started this one, as this one sees it. What is printed from now on goes to standard error."""

    def __init__(self) -> None:
        """Take over standard output."""
        self._channel, self._lock = os.fdopen(os.dup(1), "wb"), threading.Lock()
        os.dup2(2, 1)

    def send(self, message: tuple[str, Any]) -> None:
        """Send a pair (kind, content), from any thread."""
        with self._lock:
            pickle.dump(message, self._channel)
            self._channel.flush()

    def receive(self) -> Any:
        """Return the next object that it sends.

        Raises:
            EOFError: It is gone, or has closed the connection.
        """
        try:
            return pickle.load(sys.stdin.buffer)
        except OSError as error:
            raise EOFError from error


def serve() -> None:
    """Run the target that the parent names, in a process that was started for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent passes it on
    parent = Parent()
    sys.path[:], name = parent.receive()
    target(name)(parent)
