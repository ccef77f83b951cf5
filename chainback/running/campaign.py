"""A request run in this process: planned, run through the pipeline, and reported.

What was counted is written every minute, and a run that was cut off goes on from there.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jax

from chainback.engines.devices import Platform, device_of, matmul_setting, platforms_of
from chainback.engines.registry import Engine
from chainback.engines.user_engines import engines_named, on_platforms
from chainback.environment import compiled_before, environment
from chainback.errors import UsageError
from chainback.judging.run_totals import RunTotals
from chainback.problems.case_id import CaseId
from chainback.processes.watch import Progress, Watch
from chainback.reporting.report import Report
from chainback.reporting.rows import joined_identity
from chainback.reporting.schema import SCHEMA
from chainback.reporting.shards import Resumed, part_of, report_of, resumed
from chainback.running.batch import BatchMaker
from chainback.running.batch_judge import BatchJudge
from chainback.running.device_truth import DeviceTruth
from chainback.running.one_by_one import OneByOne
from chainback.running.pipeline import Pipeline
from chainback.running.programs import Programs, step
from chainback.running.request import NUMPY, Request
from chainback.running.schedule import Schedule, schedule_of

__all__ = ["run_campaign"]

#: Arguments that decide which cases are run, besides those that a report states by themselves.
_DECISIVE = ("depths", "widths", "samples", "activations", "functions")


def run_campaign(
    request: Request,
    watch: Watch,
    progress: Progress,
    started_at: datetime,
    state: tuple[int, int, RunTotals] | None = None,
) -> Report:
    """Run a request, and report on it.

    Args:
        request: What to run. Where its report goes is the caller's business; a run to resume is read from there.
        watch: The connection to a supervisor, and a request to stop.
        progress: Called as the run goes on.
        started_at: The time that the report states.
        state: What an earlier process counted, to go on from: `BatchJudge.state`.

    Raises:
        UsageError: The request cannot be run here, or the unfinished run is another one.
    """
    engines = engines_named(request.engines, lambda path: watch.step(step(path, "import")))
    if not engines and not request.functions:
        raise UsageError("no engine to run: name one with `engines`, or add your own")
    schedule = Schedule(shard=part_of(request.shard))
    if engines:
        request, schedule = request.resolved, schedule_of(request)
    platforms = platforms_of(request.platform, request.judged_as)
    programs = Programs(on_platforms(engines, platforms), matmul_setting(), watch, _source(request.truth))
    watch.started()
    facts = _facts(request, schedule, programs, platforms, started_at)
    before = resumed(request.output, facts) if request.resume and request.output is not None else Resumed()
    judge = BatchJudge(programs.source.name if programs.source else "", *(before.state if state is None else state))
    run = _Run(request, schedule, programs, platforms, judge, watch)
    start, stopped = time.perf_counter(), ""

    def report(stopped: str) -> Report:
        elapsed = before.elapsed_s + time.perf_counter() - start
        so_far = {"complete": not stopped, "elapsed_s": round(elapsed, 3), "compilation": compiled_before()}
        so_far |= {"stopped": stopped} if stopped else {}
        return report_of(judge.totals, facts | so_far, at=(judge.batches_done, judge.tasks_done))

    watch.unfinished = lambda: report("still running")
    try:
        with jax.default_device(platforms[0].device):
            run.go(progress, start)
    except KeyboardInterrupt:
        stopped = f"interrupted after {sum(t.cases for t in judge.totals.tallies.values()):,} results"
    return report(stopped)


def _source(truth: str) -> DeviceTruth | None:
    """Return what computes the reference gradients; None for NumPy."""
    if truth == NUMPY:
        return None
    try:
        return DeviceTruth(f"oracle@{truth}", device_of(truth))
    except UsageError as error:
        raise UsageError(f"the truth is worked out by {NUMPY!r} or a device: {error}") from None


@dataclass(frozen=True)
class _Run:
    """A campaign at work.

    Attributes:
        request: What is run.
        schedule: Its batches and samples.
        programs: Its engines.
        platforms: Where they run.
        judge: What counts their results.
        watch: The connection to the supervisor.
    """

    request: Request
    schedule: Schedule
    programs: Programs
    platforms: Sequence[Platform]
    judge: BatchJudge
    watch: Watch

    def go(self, progress: Progress, start: float) -> None:
        """Run what is left to do, and say how far it is."""
        first = self.judge.batches_done
        done = sum(batch.judged for _, batch in itertools.islice(self.schedule.mine(), first))
        cases, duration = self.schedule.cases, self.request.duration

        def more(judged: int, what: str) -> None:
            nonlocal done
            done += judged
            progress(done, cases, what)

        maker = self._maker()
        tasks = self.schedule.tasks(self._one_by_one(maker))
        Pipeline(self.programs, maker, self.judge, self.watch).run(
            self.schedule.mine(first),
            self.schedule.shapes(first),
            tasks[self.judge.tasks_done :],
            more,
            lambda: duration is not None and time.perf_counter() - start > duration,
        )
        more(0, "done")

    def _maker(self) -> BatchMaker:
        source = self.programs.source

        @contextlib.contextmanager
        def at_work(shape: tuple[int, int, int]) -> Iterator[None]:
            assert source is not None
            self.programs.wait_for_source(shape)
            with self.watch.step(step(source.name, "batched", *shape)):
                yield

        only = None if self.request.case is None else CaseId.parse(self.request.case)
        return BatchMaker(self.request.seed, self.programs.arithmetics, only, source, at_work)

    def _one_by_one(self, maker: BatchMaker) -> list[Any]:
        """Return what is run one by one: cases, activations and functions; the first two where engines of ours are there."""
        ours = any(isinstance(one.engine, Engine) for one in self.programs.engines.values())
        return OneByOne(self.programs, maker, self.watch, self.platforms).tasks(
            self.schedule.samples if ours else (),
            activations=ours and self.request.activations,
            functions=self.request.functions,
        )


def _facts(
    request: Request, schedule: Schedule, programs: Programs, platforms: Sequence[Platform], started_at: datetime
) -> dict[str, Any]:
    """Return what a report says of the run, and of what ran it."""
    facts = environment(started_at)
    where = joined_identity([platform.identity() for platform in platforms])
    identity = {  # the columns of schema.IDENTITY
        "schema": SCHEMA,
        "jax": facts["packages"].get("jax", ""),
        "jaxlib": facts["packages"].get("jaxlib", ""),
        "platform": where["platform"],
        "device_kind": where["device_kind"],
        "dtype": "float32",
        "matmul_precision": where["matmul_precision"],
    }
    facts |= identity | {
        "seed": request.seed,
        "cases": request.most_cases,
        "asked": {name: _plain(getattr(request, name)) for name in _DECISIVE},
        "engines": list(programs.engines),
        "ensembles": {family.name: family.version for family in schedule.families},
        "sharp_floor": request.sharp_floor,
        "sharp_bound": max(platform.arithmetic.sharp_bound for platform in platforms),
        "matmul_setting": programs.setting or "default",
        "devices": {platform.name: len(platform.devices) for platform in platforms},
        "truth": request.truth,
    }
    if request.judged_as is not None:
        facts["judged_as"] = request.judged_as
    if len(platforms) > 1:
        facts["platforms"] = {
            platform.name: platform.identity() | {"sharp_bound": platform.arithmetic.sharp_bound}
            for platform in platforms
        }
    if request.shard is not None:
        facts["shard"] = request.shard
    if request.duration is not None:
        facts["duration_s"] = request.duration
    if left_out := schedule.left_out(request.depths):
        facts["left_out"] = left_out
    return facts


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
