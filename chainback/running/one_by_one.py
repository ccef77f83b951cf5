"""What is run one by one: a few cases without batch axis, jitted and op by op; activations and functions swept alone.

Each task runs something, and returns what is left to do for it in the judging thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from chainback.engines.devices import Platform
from chainback.engines.registry import Engine
from chainback.engines.user_engines import name_at, one_by_one, run_engine
from chainback.errors import EngineError, sentence
from chainback.judging.judgement import read_result
from chainback.processes.watch import Watch
from chainback.running.activation_sweep import ActivationSweep, activation_sweeps
from chainback.running.batch import BatchMaker
from chainback.running.batch_judge import BatchJudge, EngineResult
from chainback.running.function_sweep import FunctionSweep, function_sweeps
from chainback.running.programs import Programs, step
from chainback.running.schedule import PlannedBatch

__all__ = ["OneByOne", "Task"]

#: Runs something, given its place in the run; returns what counts it, given the judge.
Task = Callable[[int], Callable[[BatchJudge], None]]


@dataclass(frozen=True)
class OneByOne:
    """Runs samples and sweeps.

    Attributes:
        programs: The engines.
        maker: Makes batches of one case.
        watch: The connection to the supervisor.
        platforms: On which activations and functions are swept.
    """

    programs: Programs
    maker: BatchMaker
    watch: Watch
    platforms: Sequence[Platform]

    def tasks(self, samples: Sequence[tuple[PlannedBatch, str]], *, activations: bool, functions: bool) -> list[Task]:
        """Return all tasks of a run, in their order: samples, then the sweeps on each platform.

        Args:
            samples: Cases, as batches of one, each with its execution.
            activations: Whether to sweep every activation.
            functions: Whether to sweep every elementary function.
        """
        tasks: list[Task] = [partial(self.sample, batch, execution) for batch, execution in samples]
        for platform in self.platforms:
            named = partial(name_at, platform=platform, platforms=self.platforms)
            where = platform.arithmetic, platform.device
            if activations:
                tasks += [partial(self.sweep, item, named) for item in activation_sweeps(*where)]
            if functions:
                tasks += [partial(self.sweep, item, named) for item in function_sweeps(*where)]
        return tasks

    def sample(self, planned: PlannedBatch, execution: str, place: int) -> Callable[[BatchJudge], None]:
        """Run our own engines on the one case of a batch, without batch axis: jitted ("single"), or op by op ("eager")."""
        batches, results = self.maker.sample(place, planned), []
        for name, one in self.programs.engines.items():
            if not isinstance(one.engine, Engine):
                continue
            self.watch.interruption.check()
            platform, start = one.platform, time.perf_counter()
            found = EngineResult(name, execution, platform.arithmetic)
            try:
                with self.watch.step(step(name, execution, planned.depth, planned.width, 1)):
                    case = batches[platform.arithmetic].case
                    gradients = run_engine(one_by_one(one.engine, execution, platform.device), case)
                result = read_result(case, gradients)
                results.append(replace(found, result=result, run_s=time.perf_counter() - start))
            except EngineError as error:
                results.append(replace(found, failed=str(error)))
        return lambda judge: judge.judge_sample(batches, results)

    def sweep(
        self, item: ActivationSweep | FunctionSweep, named: Callable[[str], str], place: int
    ) -> Callable[[BatchJudge], None]:
        """Sweep one function alone, in one way; `named` says what a report calls it."""
        self.watch.interruption.check()
        try:
            with self.watch.step(step(named(str(item)), "sweep")):
                rows = item.rows()
        except Exception as error:  # the function under test may raise anything
            rows = item.failed(str(error) if isinstance(error, EngineError) else f"it raised {sentence(error)}")
        rows = [row | {item.subject: named(row[item.subject])} for row in rows]
        return lambda judge: judge.count_sweep(item.subject, place, rows)
