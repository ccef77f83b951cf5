"""The stages of a run and their threads: compile, make batches, run the engines, judge.

They work side by side, and share two cores without waiting for each other:

* two threads compile the engines for every shape of the run, in the order in which they are needed;
* one thread, or several on many cores, makes the next batches: cases, reference gradients and bounds;
* the calling thread runs the engines, one after the other;
* one thread judges their results and counts them, in the order of the batches.

What is run one by one goes on beside the batches once everything is compiled. A sequential run, behind a worker that died,
does one thing at a time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from chainback.engines.engine import Engine
from chainback.engines.user_engines import Protocol, run_engine, run_engine_and_system
from chainback.errors import EngineError
from chainback.judging.judgement import Result, read_result
from chainback.processes.watch import Watch
from chainback.running.batch import Batch, BatchByArithmetic, BatchMaker
from chainback.running.batch_judge import BatchJudge, EngineResult, System
from chainback.running.one_by_one import Task
from chainback.running.programs import Programs, step
from chainback.running.schedule import PlannedBatch

__all__ = ["Pipeline"]


class _Inline:
    """An executor that runs a function when it is submitted, in place of the threads of a sequential run."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    def shutdown(self, **_: Any) -> None:
        """Do nothing: nothing is left to be done."""


def _makers() -> int:
    """How many batches are made at once. One keeps up with two cores; where there are more, engines may be quicker."""
    return min(4, max(1, (os.cpu_count() or 1) // 4))


@dataclass
class Pipeline:
    """Runs batches and tasks through its stages.

    Attributes:
        programs: The engines.
        maker: Makes the batches.
        judge: Judges and counts their results, in a thread of its own.
        watch: The connection to the supervisor.
        makers: How many batches are made at once.
    """

    programs: Programs
    maker: BatchMaker
    judge: BatchJudge
    watch: Watch
    makers: int = field(default_factory=_makers)

    def run(
        self,
        batches: Iterable[tuple[int, PlannedBatch]],
        shapes: Iterable[tuple[int, int, int]],
        tasks: Sequence[tuple[int, Task]],
        progress: Callable[[int, str], None],
        time_is_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run the engines on every batch that is left to do, and every task that is.

        Args:
            batches: Each with its place in the whole run.
            shapes: (depth, width, rows) of all of them, in the order in which they are needed.
            tasks: Likewise, with their places.
            progress: Called with (cases done since the last call, what is being done).
            time_is_up: Whether no further batch is to start.
        """
        sequential = self.watch.sequential
        compilers, side = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
        makers: Any = _Inline() if sequential else ThreadPoolExecutor(self.makers)
        judging: Any = _Inline() if sequential else ThreadPoolExecutor(1)
        try:
            progress(0, "compiling")
            if sequential:
                self._run_batches(batches, makers, judging, progress, time_is_up)
                progress(0, "one by one")
                self._run_tasks(tasks, judging)
            else:
                self.programs.compile_ahead(shapes, compilers)
                if not all(isinstance(one.engine, Engine) for one in self.programs.engines.values()):
                    self.programs.wait()  # an engine of the user's own may trace, too
                beside = side.submit(self._run_tasks, tasks, judging)
                self._run_batches(batches, makers, judging, progress, time_is_up)
                progress(0, "one by one")
                beside.result()
        finally:
            for pool in (compilers, makers):
                pool.shutdown(wait=False, cancel_futures=True)
            side.shutdown(wait=self.watch.interruption.requested, cancel_futures=True)
            judging.shutdown(wait=True)

    def _run_batches(
        self,
        batches: Iterable[tuple[int, PlannedBatch]],
        makers: Any,
        judging: Any,
        progress: Callable[[int, str], None],
        time_is_up: Callable[[], bool],
    ) -> None:
        """Run the engines on each batch while the next is made and the last is judged."""
        last: Future[None] | None = None
        for made in self._made(batches, makers, time_is_up):
            planned = next(iter(made.values())).planned
            what = f"{planned.ensemble} {planned.depth}x{planned.width}"
            progress(0, what)
            results = [self._result(name, made) for name in self.programs.engines]
            judged = judging.submit(self._judge, made, results)
            if last is not None:
                last.result()  # the judge is one batch behind, never more
            last = judged
            progress(planned.judged, what)
        if last is not None:
            last.result()

    def _made(
        self, batches: Iterable[tuple[int, PlannedBatch]], makers: Any, time_is_up: Callable[[], bool]
    ) -> Iterator[BatchByArithmetic]:
        """Yield each batch, while so many of the next ones are being made."""
        upcoming: deque[Future[BatchByArithmetic]] = deque()
        ahead = 0 if self.watch.sequential else self.makers
        for place, planned in batches:
            if time_is_up():
                return
            upcoming.append(makers.submit(self.maker.batch, place, planned))
            if len(upcoming) > ahead:
                yield upcoming.popleft().result()
        while upcoming and not time_is_up():
            yield upcoming.popleft().result()

    def _run_tasks(self, tasks: Sequence[tuple[int, Task]], judging: Any) -> None:
        if not self.watch.sequential:
            self.programs.wait()  # JAX before 0.5 cannot trace the same function in two threads
        with jax.default_matmul_precision(self.programs.setting):
            for place, task in tasks:
                judging.submit(self._count, task(place)).result()

    def _judge(self, batches: BatchByArithmetic, results: Sequence[EngineResult]) -> None:
        """Judge a batch, in the judging thread. Nothing of it is counted before all engines have run on it."""
        self.judge.judge_batch(batches, results)
        self.watch.checkpoint(lambda: self.judge.state)

    def _count(self, count: Callable[[BatchJudge], None]) -> None:
        count(self.judge)
        self.watch.checkpoint(lambda: self.judge.state)

    def _result(self, name: str, batches: BatchByArithmetic) -> EngineResult:
        """Run one engine on a batch."""
        self.watch.interruption.check()
        one = self.programs.engines[name]
        platform, engine = one.platform, one.engine
        batch, found = batches[platform.arithmetic], EngineResult(name, "batched", platform.arithmetic)
        if isinstance(engine, Engine) and (reason := engine.limit(*batch.planned.shape)):
            return replace(found, declined=reason)
        try:
            program, seconds = self.programs.program(name, batch.planned.shape)
            found = replace(found, compile_s=seconds)
            with self.watch.step(step(name, "batched", *batch.planned.shape)), jax.default_device(platform.device):
                return _run(program, batch, found)
        except EngineError as error:
            return replace(found, failed=str(error))


def _run(program: Protocol, batch: Batch, found: EngineResult) -> EngineResult:
    """Run a program on a batch; on the first batch of a row run it again."""
    start = time.perf_counter()
    gradients, system = run_engine_and_system(program, batch.case, batch.placed)
    seconds = time.perf_counter() - start
    result = read_result(batch.case, gradients)
    found = replace(found, result=result, system=system and System(gradients, *system), run_s=seconds)
    if batch.planned.number or result.malformed:
        return found
    try:
        return replace(found, again=read_result(batch.case, run_engine(program, batch.case, batch.placed)))
    except EngineError:
        return replace(found, again=Result(None, "it failed"))
