"""A supervised worker: a process that may crash, hang or eat the memory without ending the run.

The worker says what it is about to do before it does it, and sends a checkpoint every few seconds. When it dies, or exceeds
a limit, a new worker goes on from the last checkpoint, and fails the step that killed the old one. Where more than one step
was under way, the next worker takes them one at a time, so that the fatal one is found.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from chainback.errors import ChainbackError, UsageError
from chainback.processes.child_process import Child, Parent, target
from chainback.processes.watch import Interruption, Progress, Step, Watch, no_progress

__all__ = ["Outcome", "StartError", "serve", "supervise"]

#: Share of the machine's memory that a worker may hold.
_MEMORY_SHARE = 0.8
_POLL_S = 0.1
#: Deaths of a worker outside any single step after which the run is given up.
_MOST_UNEXPLAINED = 2


class StartError(ChainbackError):
    """A worker died before its target had all that its steps need; the message says how."""


@dataclass(frozen=True)
class Outcome:
    """What came of a supervised run.

    Attributes:
        result: What the target returned.
        deaths: A sentence for each step that a worker did not survive.
        unexplained: A sentence for each death for which no single step is to blame, and none was found after it.
    """

    result: Any
    deaths: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """What one worker does.

    Attributes:
        target: Name of the function that it runs.
        arguments: The target's first argument.
        state: The pickled checkpoint to go on from, if any.
        fatal: As of `Watch`, like the next.
        sequential: As of `Watch`.
        stop: Whether to return at once what the checkpoint holds.
        publish: Whether to send unfinished results.
    """

    target: str
    arguments: Any
    state: bytes | None = None
    fatal: dict[Step, str] = field(default_factory=dict)
    sequential: bool = False
    stop: bool = False
    publish: bool = False


def serve(parent: Parent) -> None:
    """Be a worker: receive a job, run it, send its result. When the supervisor goes away, so does the worker."""
    job: _Job = parent.receive()
    watch = Watch(parent.send, job.fatal, job.sequential)
    if job.publish:
        watch.publish = lambda unfinished: parent.send(("unfinished", unfinished))
    if job.stop:
        watch.interruption.request()
    threading.Thread(target=_listen, args=(parent, watch.interruption), daemon=True).start()
    try:
        run = target(job.target)
        state = None if job.state is None else pickle.loads(job.state)
        message: tuple[str, Any] = ("result", run(job.arguments, state, watch))
    except UsageError as error:
        message = ("usage", str(error))
    except Exception:  # a fault of chainback itself
        message = ("fault", traceback.format_exc())
    parent.send(message)
    os._exit(0)  # threads of what was run may not let the interpreter end


def _listen(parent: Parent, interruption: Interruption) -> None:
    try:
        while parent.receive() == "interrupt":
            interruption.request()
    except EOFError:
        os._exit(1)


@dataclass(frozen=True)
class _Death:
    """The end of a worker.

    Attributes:
        reason: How it ended, in a sentence.
        step: The one step that was under way; None if there was none, or more than one.
    """

    reason: str
    step: Step | None


class _Worker:
    """One worker process, as its supervisor sees it.

    Attributes:
        checkpoint: The last one that it sent.
        started: Whether it got as far as its first step.
    """

    def __init__(self, job: _Job, time_limit: float, memory_limit: float) -> None:
        self._child = Child("worker")
        self._time_limit, self._memory_limit = time_limit, memory_limit
        self._steps: dict[int, tuple[Step, float]] = {}
        self.checkpoint = job.state
        self.started = False
        self._child.send(job)

    def close(self) -> None:
        """Make sure that it is gone."""
        self._child.close()

    def outcome(
        self, progress: Progress, publish: Callable[[Any], None] | None, interruption: Interruption
    ) -> tuple[str, Any]:
        """Wait for ("result", result), ("usage", sentence), ("fault", traceback) or ("death", how it ended)."""
        passed_on = False
        while True:
            if interruption.requested and not passed_on:
                self._child.send("interrupt")
                passed_on = True
            try:
                kind, content = self._child.inbox.get(timeout=_POLL_S)
            except queue.Empty:
                if death := self._over_a_limit():
                    self.close()
                    return "death", death
                continue
            if kind == "begin":
                self._steps[content.number] = content, time.monotonic()
            elif kind == "end":
                self._steps.pop(content.number, None)
            elif kind == "started":
                self.started = True
            elif kind == "checkpoint":
                self.checkpoint = content
            elif kind == "progress":
                progress(*content)
            elif kind == "unfinished" and publish is not None:
                publish(content)
            elif kind == "closed":
                return "death", self._dead()
            else:
                return kind, content

    def _over_a_limit(self) -> _Death | None:
        for step, start in self._steps.values():
            if time.monotonic() - start > self._time_limit:
                return _Death(f"it did not end within {self._time_limit:g} s", step)
        held = _resident(self._child.process.pid)
        if held > self._memory_limit:
            limit = f"over the limit of {self._memory_limit / 1e9:.1f} GB"
            return _Death(f"it held {held / 1e9:.1f} GB of memory, {limit}", self._only_step())
        return None

    def _dead(self) -> _Death:
        code = self._child.process.wait()
        if code >= 0:
            return _Death(f"the process ended with exit code {code}", self._only_step())
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return _Death(f"the process died of {name}", self._only_step())

    def _only_step(self) -> Step | None:
        return next(iter(self._steps.values()))[0] if len(self._steps) == 1 else None


def _resident(process: int) -> int:
    """Return the bytes of memory that a process holds; 0 once it is gone."""
    try:
        return psutil.Process(process).memory_info().rss
    except psutil.Error:
        return 0


def supervise(
    run: str,
    arguments: Any,
    *,
    time_limit: float,
    memory_limit: float | None = None,
    progress: Progress = no_progress,
    publish: Callable[[Any], None] | None = None,
    interruption: Interruption | None = None,
) -> Outcome:
    """Run a target in a worker, and restart it from its last checkpoint until it returns a result.

    Args:
        run: Name of a target (`child_process.TARGETS`), a function of (arguments, state to go on from or None, watch).
        arguments: What it gets first; it can be pickled.
        time_limit: Seconds that a step may take.
        memory_limit: Bytes that the worker may hold; default: four fifths of the machine's.
        progress: Called as the run goes on.
        publish: Takes unfinished results.
        interruption: A request to stop.

    Raises:
        UsageError: The target raised it.
        StartError: The worker died before it had what it needs.
        ChainbackError: The target raised something else, or the worker died while it returned its result.
    """
    limit = _MEMORY_SHARE * psutil.virtual_memory().total if memory_limit is None else memory_limit
    interruption = interruption or Interruption()
    job, deaths, unexplained = _Job(run, arguments, publish=publish is not None), [], []
    while True:
        worker = _Worker(job, time_limit, limit)
        try:
            kind, content = worker.outcome(progress, publish, interruption)
        finally:
            worker.close()
        if kind == "usage":
            raise UsageError(content)
        if kind == "fault":
            raise ChainbackError(f"this is a fault of chainback, please report it:\n{content}")
        if kind == "result":
            return Outcome(content, tuple(deaths), tuple(unexplained))
        if content.step is None and not worker.started:
            raise StartError(content.reason)
        if job.stop:
            raise ChainbackError(f"the worker died while it wrote its report: {content.reason}")
        fatal, stop = job.fatal, interruption.requested
        if content.step is not None:
            reason = f"{content.reason} while it {content.step.action}"
            deaths.append(f"{content.step.subject}: {reason}")
            fatal = fatal | {content.step: reason}
            unexplained.clear()  # the deaths before it, of several steps at once, were most likely its own
        else:
            unexplained.append(f"{content.reason} while more than one step was under way, or none")
            stop = stop or len(unexplained) > _MOST_UNEXPLAINED
        job = replace(job, state=worker.checkpoint, fatal=fatal, stop=stop, sequential=True)
