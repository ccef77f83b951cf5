"""A campaign in a process of its own, so that what it tests cannot end it.

A compiler that crashes, an engine that never returns or that eats the memory takes its process along. So the campaign runs
in a worker, which says what it is about to do before it does it, and hands over what it has counted every few seconds. When
a worker dies, or overstays a limit, the step that it was at is lost: a new worker takes the counts, goes on behind it, and
reports it as failed. Where more than one step was under way, the next worker takes them one by one: the guilty one shows.

Nothing here imports JAX: the process that supervises needs none.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from chainback.environment import start_jax
from chainback.errors import ChainbackError, EngineError, UsageError
from chainback.processes.child_process import Child, answering
from chainback.reporting.report import REPORT_FILES, Report, writable_folder

__all__ = ["Interruption", "Step", "Watch", "serve", "supervise"]

#: Seconds that one compilation, or one batch of one engine, may take.
TIME_LIMIT = 300.0
#: Share of the machine's memory that the worker may hold.
_MEMORY_SHARE = 0.8
#: Seconds between two hand-overs of what was counted.
_CHECKPOINT_S = 5.0
#: Seconds between two reports of an unfinished run.
_PUBLISH_S = 60.0
_POLL_S = 0.1
#: Deaths of a worker outside any step after which the run is given up.
_MOST_UNEXPLAINED = 2
_WORKER = "from chainback.processes.worker import serve; serve('chainback.running.campaign', 'work')"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Step:
    """One thing that an engine is about to do, and may not survive.

    Attributes:
        engine: Its name.
        execution: "import", "compile", "batched", "single", "eager", or "sweep" for an activation alone.
        depth: Of the chains.
        width: Of the chains.
        rows: Cases in the batch.
        turn: Which of a worker's steps it is: several may do the same at once.
    """

    engine: str
    execution: str
    depth: int = 0
    width: int = 0
    rows: int = 0
    turn: int = field(default=0, compare=False)

    def __str__(self) -> str:
        shape = f" at {self.depth}x{self.width}, {self.rows} at once" if self.depth else ""
        doing = {"import": "was imported", "compile": "was compiled", "sweep": "was swept"}.get(self.execution)
        return f"{doing or f'ran ({self.execution})'}{shape}"


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
        """Whether somebody asked."""
        return self._requested

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody asked."""
        if self._requested:
            raise KeyboardInterrupt


@dataclass
class Watch:
    """What a campaign tells whoever supervises it; by default nobody does.

    Attributes:
        send: Takes ("started", None), ("begin", step), ("end", step), ("checkpoint", bytes) and ("progress", (done, all,
            what)).
        lost: The steps that earlier workers did not survive, and what became of those.
        careful: Whether to do one thing at a time, so that a death has one cause.
        interruption: A request to stop.
        publish: Takes a report of what was counted so far; by default none is made.
        report: Makes one.
    """

    send: Callable[[tuple[str, Any]], None] | None = None
    lost: dict[Step, str] = field(default_factory=dict)
    careful: bool = False
    interruption: Interruption = field(default_factory=Interruption)
    publish: Callable[[Report], None] | None = None
    report: Callable[[], Report] | None = None
    _turns: Iterator[int] = field(default_factory=itertools.count)
    _handed_over: float = field(default_factory=time.monotonic)
    _published: float = field(default_factory=time.monotonic)

    def started(self) -> None:
        """Say that JAX is there and has a device."""
        if self.send is not None:
            self.send(("started", None))

    @contextlib.contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Say that a step begins, and that it ended.

        Raises:
            EngineError: An earlier worker did not survive it.
        """
        if step in self.lost:
            raise EngineError(self.lost[step])
        if self.send is None:
            yield
            return
        step = replace(step, turn=next(self._turns))
        self.send(("begin", step))
        try:
            yield
        finally:
            self.send(("end", step))

    def hand_over(self, state: Callable[[], Any]) -> None:
        """Hand over what was counted, and publish it, if it is time again."""
        if self.send is not None and time.monotonic() - self._handed_over > _CHECKPOINT_S:
            self.send(("checkpoint", pickle.dumps(state())))
            self._handed_over = time.monotonic()
        if self.publish is not None and self.report is not None and time.monotonic() - self._published > _PUBLISH_S:
            self.publish(self.report())
            self._published = time.monotonic()


def serve(module: str, name: str) -> None:
    """Be a worker: read a job from standard input, run it, and answer on standard output.

    What the job prints goes to standard error. When the supervisor goes away, so does the worker.

    Args:
        module: Imported once there is somebody to tell that JAX does not start.
        name: Of the function there that maps (arguments, state to go on from, watch) to a report.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the supervisor passes it on
    send = answering()
    job = pickle.load(sys.stdin.buffer)
    publish = partial(_as_message, send) if job["publish"] else None
    watch = Watch(send, job["lost"], job["careful"], publish=publish)
    if job["stop"]:
        watch.interruption.request()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, watch.interruption), daemon=True).start()
    try:
        start_jax()
        campaign = getattr(importlib.import_module(module), name)
        state = None if job["state"] is None else pickle.loads(job["state"])
        answer: tuple[str, Any] = ("report", campaign(job["arguments"], state, watch))
    except UsageError as error:
        answer = ("usage", str(error))
    except Exception:  # a fault of chainback itself
        answer = ("fault", traceback.format_exc())
    send(answer)
    os._exit(0)  # an engine's threads may not let the interpreter end


def _as_message(send: Callable[[tuple[str, Any]], None], report: Report) -> None:
    send(("unfinished", report))


def _listen(supervisor: BinaryIO, interruption: Interruption) -> None:
    with contextlib.suppress(EOFError, OSError):
        while pickle.load(supervisor) == "interrupt":
            interruption.request()
    os._exit(1)


@dataclass
class _Death:
    reason: str
    culprit: Step | None


class _Worker:
    """One worker process, as its supervisor sees it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._child = Child(_WORKER)
        self._begun: dict[int, tuple[Step, float]] = {}
        self.checkpoint: bytes | None = None
        self.started = False
        self._child.tell(job)

    def interrupt(self) -> None:
        """Pass a request to stop on."""
        self._child.tell("interrupt")

    def close(self) -> None:
        """Make sure that it is gone."""
        self._child.close()

    def outcome(
        self,
        time_limit: float,
        memory_limit: float,
        progress: Progress,
        publish: Callable[[Report], None],
        interruption: Interruption,
    ) -> tuple[str, Any]:
        """Wait for ("report", report), ("usage", sentence), ("fault", traceback) or ("death", what it died of)."""
        passed_on = False
        while True:
            if interruption.requested and not passed_on:
                self.interrupt()
                passed_on = True
            try:
                kind, content = self._child.inbox.get(timeout=_POLL_S)
            except queue.Empty:
                if death := self._overstayed(time_limit, memory_limit):
                    self.close()
                    return "death", death
                continue
            if kind == "begin":
                self._begun[content.turn] = content, time.monotonic()
            elif kind == "end":
                self._begun.pop(content.turn, None)
            elif kind == "started":
                self.started = True
            elif kind == "checkpoint":
                self.checkpoint = content
            elif kind == "progress":
                progress(*content)
            elif kind == "unfinished":
                publish(content)
            elif kind == "closed":
                return "death", self._dead()
            else:
                return kind, content

    def _overstayed(self, time_limit: float, memory_limit: float) -> _Death | None:
        for step, begun in self._begun.values():
            if time.monotonic() - begun > time_limit:
                return _Death(f"it did not end within {time_limit:g} s", step)
        held = _resident(self._child.process.pid)
        if held > memory_limit:
            return _Death(
                f"it held {held / 1e9:.1f} GB of memory, over the limit of {memory_limit / 1e9:.1f} GB", self._only()
            )
        return None

    def _dead(self) -> _Death:
        code = self._child.process.wait()
        if code >= 0:
            return _Death(f"the process ended with exit code {code}", self._only())
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return _Death(f"the process died of {name}", self._only())

    def _only(self) -> Step | None:
        return next(iter(self._begun.values()))[0] if len(self._begun) == 1 else None


def _resident(process: int) -> float:
    """Return the bytes of memory that a process holds; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return float("inf")


def supervise(
    *,
    time_limit: float = TIME_LIMIT,
    memory_limit: float | None = None,
    output: str | os.PathLike[str] | None = None,
    junit: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    **arguments: Any,
) -> Report:
    """Do what `verify` does, in a worker process that may die without ending the run.

    The worker's JAX reads the environment variables of this process; what `jax.config` or a context manager set in this
    process does not reach it.

    Args:
        time_limit: Seconds that one compilation, or one batch of one engine, may take.
        memory_limit: Bytes that the worker may hold; default: four fifths of the machine's. Not enforced where the system
            does not tell.
        output: As for `verify`.
        junit: As for `verify`.
        progress: As for `verify`.
        resume: As for `verify`.
        **arguments: The others of `verify`; engines by name or as `package.module:name`.

    Returns:
        The report. A step that a worker did not survive counts as rejected, with what became of it.

    Raises:
        UsageError: As `verify` does.
    """
    for name, limit in (("time_limit", time_limit), ("memory_limit", memory_limit)):
        if limit is not None and not limit > 0:
            raise UsageError(f"`{name}` must be above 0, got {limit}")
    if resume and output is None:
        raise UsageError("`resume` needs `output`: the folder of the run to go on with")
    if output is not None:
        writable_folder(output, REPORT_FILES)
    if junit is not None:
        writable_folder(Path(junit).parent, (Path(junit).name,))
    start, interruption = time.perf_counter(), Interruption()
    with interruption:
        report, incidents = _outlive(
            arguments | {"resume": os.fspath(output) if resume and output is not None else None},
            time_limit,
            _MEMORY_SHARE * _memory() if memory_limit is None else memory_limit,
            progress or (lambda done, total, what: None),
            None if output is None else partial(Report.write, folder=output),
            interruption,
        )
    facts = report.environment
    if not resume:  # what a resumed run took all in all, only its worker knows
        facts = facts | {"elapsed_s": round(time.perf_counter() - start, 3)}
    report = replace(report, environment=facts | incidents)
    if output is not None:
        report.write(output)
    if junit is not None:
        report.write_junit(junit)
    return report


def _outlive(
    arguments: dict[str, Any],
    time_limit: float,
    memory_limit: float,
    progress: Progress,
    publish: Callable[[Report], None] | None,
    interruption: Interruption,
) -> tuple[Report, dict[str, Any]]:
    """Run workers, each from where the last one got to, until one brings the report."""
    job: dict[str, Any] = {
        "arguments": arguments,
        "lost": {},
        "state": None,
        "careful": False,
        "stop": False,
        "publish": publish is not None,
    }
    deaths: list[str] = []
    unexplained: list[str] = []
    while True:
        worker = _Worker(job)
        try:
            kind, content = worker.outcome(
                time_limit, memory_limit, progress, publish or (lambda report: None), interruption
            )
        finally:
            worker.close()
        if kind == "usage":
            raise UsageError(content)
        if kind == "fault":
            raise ChainbackError(f"this is a fault of chainback, please report it:\n{content}")
        if kind == "report":
            incidents: dict[str, Any] = {"worker_deaths": deaths} if deaths else {}
            # With a culprit the death is a rejection. Without one, something died and nothing says that it will not again.
            return content, incidents | ({"unexplained": unexplained} if unexplained else {})
        if content.culprit is None and not worker.started:
            raise ChainbackError(f"JAX does not start here: {content.reason}; what it said stands above")
        if job["stop"]:
            raise ChainbackError(f"the worker died while it wrote its report: {content.reason}")
        job |= {"state": worker.checkpoint or job["state"], "stop": interruption.requested}
        if content.culprit is not None:
            deaths.append(f"{content.culprit.engine}: {content.reason} while it {content.culprit}")
            unexplained.clear()  # the deaths before it, of several steps at once, were most likely its own
            job["lost"] = job["lost"] | {content.culprit: f"{content.reason} while it {content.culprit}"}
        else:
            unexplained.append(f"{content.reason} while more than one step was under way, or none")
            job["stop"] = job["stop"] or len(unexplained) > _MOST_UNEXPLAINED
        job["careful"] = True
