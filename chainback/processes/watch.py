"""What a run says to the process that supervises it: steps, progress, checkpoints; and a request to stop the run."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chainback.errors import EngineError

__all__ = ["Interruption", "Progress", "Step", "Watch", "no_progress"]

#: Called with (done, in all, what is being done).
Progress = Callable[[int, int, str], None]
#: Seconds between two checkpoints.
_CHECKPOINT_S = 5.0
#: Seconds between two unfinished results.
_PUBLISH_S = 60.0


def no_progress(done: int, total: int, what: str) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Step:
    """One thing that a run is about to do, and its process may not survive.

    Attributes:
        subject: What is at work, such as the name of an engine.
        action: What it does, so that "it" and the action are a sentence: "was compiled at 3x1, 8 at once".
        number: Of the process's steps: several may do the same at once.
    """

    subject: str
    action: str
    number: int = field(default=0, compare=False)


class Interruption:
    """A request to stop after the step at work; an exception in the middle of a compiler's callback may be lost there.

    As a context, in the main thread, it is what Ctrl-C makes; a second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self._requested = False
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _interrupt(self, *_: object) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self.request()

    def request(self) -> None:
        """Ask to stop."""
        self._requested = True

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._requested

    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was requested."""
        if self._requested:
            raise KeyboardInterrupt


@dataclass
class Watch:
    """The connection of a run to its supervisor; by default there is none.

    Attributes:
        send: Takes pairs (kind, content): ("started", None), ("begin", step), ("end", step), ("checkpoint", bytes) and
            ("progress", (done, in all, what)).
        fatal: The steps that earlier processes did not survive, and what became of those.
        sequential: Whether to do one step at a time, so that a death has one cause.
        interruption: A request to stop.
        publish: Takes an unfinished result; by default none is made.
        unfinished: Makes one.
    """

    send: Callable[[tuple[str, Any]], None] | None = None
    fatal: dict[Step, str] = field(default_factory=dict)
    sequential: bool = False
    interruption: Interruption = field(default_factory=Interruption)
    publish: Callable[[Any], None] | None = None
    unfinished: Callable[[], Any] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _checkpoint_at: float = field(default_factory=time.monotonic)
    _published_at: float = field(default_factory=time.monotonic)

    def started(self) -> None:
        """Say that all is there that steps need."""
        if self.send is not None:
            self.send(("started", None))

    @contextlib.contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Say that a step begins, and that it ended.

        Raises:
            EngineError: An earlier process did not survive it.
        """
        if step in self.fatal:
            raise EngineError(self.fatal[step])
        if self.send is None:
            yield
            return
        step = replace(step, number=next(self._numbers))
        self.send(("begin", step))
        try:
            yield
        finally:
            self.send(("end", step))

    def progress(self, done: int, total: int, what: str) -> None:
        """Say how far the run is."""
        if self.send is not None:
            self.send(("progress", (done, total, what)))

    def checkpoint(self, state: Callable[[], Any]) -> None:
        """Send the state from which another process can go on, and publish an unfinished result, if it is time again."""
        if self.send is not None and time.monotonic() - self._checkpoint_at > _CHECKPOINT_S:
            self.send(("checkpoint", pickle.dumps(state())))
            self._checkpoint_at = time.monotonic()
        if self.publish and self.unfinished and time.monotonic() - self._published_at > _PUBLISH_S:
            self.publish(self.unfinished())
            self._published_at = time.monotonic()
