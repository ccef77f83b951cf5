"""One run at work: engines on batches, and what is judged and counted of their answers.

Four things go on side by side, and share two cores without waiting for each other:

* compilers compile the engines for every shape of the run, in the order in which they are needed;
* a drawer (NumPy) draws the next batch, and works out its truth and bound;
* the calling thread runs the engines, one after the other;
* a clerk judges what they answered, and counts it. He alone touches the counts, in the order of the batches.

What is left to be run one by one (cases, activations, functions) goes on beside the batches once everything is compiled. A
careful run, behind a worker that died, does one thing at a time.

Measured on two idle cores, a million chains without the ensemble `deep`, eight engines, JAX 0.10.2: 47 s from a cold start
and 24 s with the programs in JAX's cache, where it was 97 s and 45 s. What made the difference: a clerk of his own (the
thread that runs the engines was busy for 42 s of 45, the other core half of the time); no BLAS in counting (its threads
waited for a core, 12 s); sweeps beside the batches, not after them; one trace of the switch in an unrolled program, not one
a layer (1.9 s to 0.2 s at 33 layers); five shapes, not seven; fewer and larger batches. Of the 47 s most is compilation: a
kernel costs the compiler 10 to 20 ms, and an engine at one shape has 40 to 1,700 of them.

Of a batch of 65,536 weights, 8 layers, width 1, both cores together spent 86 ms, and 37 ms once answers with the same bits
are judged and measured once; truth and bound lie in memory as answers do (a component took 17 ns to judge and measure, and
takes 9); glibc keeps memory that arrays leave (`environment.start_jax`); a batch is put on its devices once, and not for
each engine (0.3 ms). What made no difference: larger or smaller batches; JAX's synchronous dispatch; one thread for Eigen;
a shorter switch interval of Python's threads. On a quicker machine a batch takes 18 ms, and 20 ms by one thread alone;
without hashes, histograms and pairs at all 15 ms; two threads that each took whole batches would take 15 ms at depth 8, and
save nothing at depth 64. A quarter of a batch in the histograms would save a tenth, and leave quantiles of rare events to
chance.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any

import jax
import numpy as np

from chainback.engines.devices import Platform
from chainback.engines.engine import Compiled
from chainback.engines.registry import Engine
from chainback.engines.user_engines import Entrant, Protocol, answer, one_by_one, placed_for
from chainback.errors import EngineError, sentence
from chainback.judging.judgement import Judgement, Result, Steps, judge, judge_steps, read_result
from chainback.judging.measurement import Measured, PairBound, Units
from chainback.judging.run_totals import RunTotals
from chainback.judging.tally import Pair, Rejection, RowKey, StepTally, Tally
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.case_id import CaseId
from chainback.problems.chain import Case, Chain
from chainback.problems.ensembles import draw, rebuild
from chainback.processes.worker import Step, Watch
from chainback.running.activation_sweep import Measurement
from chainback.running.batch import Drawing, Drawn, Oracle
from chainback.running.function_sweep import Sweep
from chainback.running.schedule import Batch

__all__ = ["Progress", "Run", "Task"]

#: What `steps.csv` calls a check of another oracle's truth and bound.
_TRUTH = "truth"
#: Told (cases done, cases in all, what is being done).
Progress = Callable[[int, int, str], None]
#: What is run one by one: maps its place in the run to what then has to be done to count it.
Task = Callable[[int], Callable[[], None]]


@dataclass(frozen=True)
class _Answered:
    """What an engine answered on a batch, read, and not judged yet.

    Attributes:
        answer: The first answer.
        again: On the first batch of a row, a second one to the same question.
        system: Likewise, the linear system that it shows: couplings, slopes, states; with the gradients that came of it.
        trouble: What went wrong when it was asked again.
        seconds: How long the first answer took.
    """

    answer: Result
    again: Result | None = None
    system: tuple[Any, Any, Any, Any] | None = None
    trouble: str = ""
    seconds: float = 0.0


class _Inline:
    """An executor that runs what it is given at once: the clerk and the drawer of a careful run."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    def shutdown(self, **_: Any) -> None:
        """Do nothing: nothing is left to be done."""


@dataclass
class Run:
    """The state of one campaign.

    Attributes:
        entrants: Engines on platforms, by name.
        seed: Of the cases.
        setting: JAX's matmul precision, to compile under in other threads.
        watch: Whoever supervises.
        case: The one case to judge, first in its batch; None for all.
        oracle: What works out the batches' truth and bound; None for NumPy, here.
        drawers: How many batches are drawn at once, with their truth. One keeps up with two cores; where there are more, the
            device may be quicker than one.
        done: How many of the batches are done.
        tasks_done: How many of the tasks are.
        counts: What was counted.
        programs: What was compiled, or is being compiled.
        prepared: Likewise for the oracle, by shape.
    """

    entrants: dict[str, Entrant]
    seed: int
    setting: str | None
    watch: Watch
    case: CaseId | None = None
    oracle: Oracle | None = None
    drawers: int = field(default_factory=lambda: min(4, max(1, (os.cpu_count() or 1) // 4)))
    done: int = 0
    tasks_done: int = 0
    counts: RunTotals = field(default_factory=RunTotals)
    programs: dict[tuple[str, int, int, int], Future[tuple[Protocol, float]]] = field(default_factory=dict)
    prepared: dict[tuple[int, int, int], Future[Any]] = field(default_factory=dict)
    clerk: Any = field(default_factory=_Inline)

    def state(self) -> tuple[int, int, RunTotals]:
        """Return what was counted so far, for another process to go on from."""
        return self.done, self.tasks_done, self.counts

    def _ours(self) -> Iterator[tuple[str, Engine, Platform]]:
        """Yield chainback's own engines among the entrants, with their names and platforms."""
        for name, entrant in self.entrants.items():
            if isinstance(entrant.engine, Engine):
                yield name, entrant.engine, entrant.platform

    def go(
        self,
        batches: Iterable[tuple[int, Batch]],
        shapes: Iterable[tuple[int, int, int]],
        tasks: Sequence[tuple[int, Task]],
        tell: Callable[[int, str], None],
        time_is_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run the engines on every batch that is left to do, and every task that is.

        Args:
            batches: Each with its place in the whole run.
            shapes: (depth, width, rows) of all of them, in the order in which they are needed.
            tasks: Likewise, with their places.
            tell: Told (cases done since this was called, what is being done).
            time_is_up: Whether no further batch is to be begun.
        """
        careful = self.watch.careful
        compilers, drawers = ThreadPoolExecutor(2), _Inline() if careful else ThreadPoolExecutor(self.drawers)
        beside = ThreadPoolExecutor(1)
        self.clerk = _Inline() if careful else ThreadPoolExecutor(1)
        try:
            tell(0, "compiling")
            if not careful:
                self._compile_all(shapes, compilers)
                if len(list(self._ours())) < len(self.entrants):
                    wait(self._being_compiled())  # an engine of the user's own may trace, too
                side = beside.submit(self._run_tasks, tasks)
                self._run_batches(batches, drawers, tell, time_is_up)
                tell(0, "one by one")
                side.result()
            else:
                self._run_batches(batches, drawers, tell, time_is_up)
                tell(0, "one by one")
                self._run_tasks(tasks)
        finally:
            for pool in (compilers, drawers):
                pool.shutdown(wait=False, cancel_futures=True)
            beside.shutdown(wait=self.watch.interruption.requested, cancel_futures=True)
            self.clerk.shutdown(wait=True)

    def _run_batches(
        self,
        batches: Iterable[tuple[int, Batch]],
        drawers: Any,
        tell: Callable[[int, str], None],
        time_is_up: Callable[[], bool],
    ) -> None:
        """Run the engines on each batch while the next is drawn and the last is judged."""
        at_work: Future[Any] | None = None
        ahead = 0 if self.watch.careful else self.drawers
        for drawn in _ahead(batches, partial(self.draw, elsewhere=True), drawers, ahead, time_is_up):
            batch = next(iter(drawn.values())).batch
            what = f"{batch.ensemble} {batch.depth}x{batch.width}"
            tell(0, what)
            counted = self.verify_batch(drawn)
            if at_work is not None:
                at_work.result()  # the clerk is one batch behind, never more
            at_work = counted
            tell(batch.judged, what)
        if at_work is not None:
            at_work.result()

    def _run_tasks(self, tasks: Sequence[tuple[int, Task]]) -> None:
        if not self.watch.careful:
            wait(self._being_compiled())  # JAX before 0.5 cannot trace the same function in two threads
        with jax.default_matmul_precision(self.setting):
            for place, task in tasks:
                self.clerk.submit(self._count_task, task(place)).result()

    def _count_task(self, count: Callable[[], None]) -> None:
        count()
        self.tasks_done += 1
        self.watch.hand_over(self.state)

    def _compile_all(self, shapes: Iterable[tuple[int, int, int]], pool: ThreadPoolExecutor) -> None:
        """Start to compile our own engines for every shape of the run, in the order in which they are needed."""
        for shape in dict.fromkeys(shapes):
            if self.oracle is not None:
                self.prepared[shape] = pool.submit(self._prepare, self.oracle, shape)
            for name, engine, platform in self._ours():
                if not engine.limit(*shape):
                    self.programs[name, *shape] = pool.submit(self._compile, name, engine, platform, shape)

    def _being_compiled(self) -> list[Future[Any]]:
        return [*self.programs.values(), *self.prepared.values()]

    def _prepare(self, oracle: Oracle, shape: tuple[int, int, int]) -> None:
        with self.watch.step(Step(oracle.name, "compile", *shape)):
            for arithmetic in self._arithmetics():
                oracle.prepare(*shape, arithmetic)

    def _arithmetics(self) -> list[Arithmetic]:
        """Return the arithmetics that answers are judged as."""
        return list(dict.fromkeys(entrant.platform.arithmetic for entrant in self.entrants.values()))

    def _compile(
        self, name: str, engine: Engine, platform: Platform, shape: tuple[int, int, int]
    ) -> tuple[Protocol, float]:
        # JAX's setting is this thread's own; what counts is that of the thread which called.
        with self.watch.step(Step(name, "compile", *shape)), jax.default_matmul_precision(self.setting):
            start = time.perf_counter()
            program = engine.compile(*shape, *platform.devices)
            return program, time.perf_counter() - start

    def draw(self, placed: tuple[int, Batch], elsewhere: bool = False) -> Drawing:
        """Draw a batch, and work out its truth, and its bound under each arithmetic; elsewhere, where there is an oracle."""
        place, batch = placed
        case = draw(
            batch.ensemble, seed=self.seed, depth=batch.depth, width=batch.width, batch=batch.number, rows=batch.rows
        )
        oracle = self.oracle if elsewhere else None
        return self._drawn(place, batch, case if self.case is None else _turned(case, self.case.row), oracle)

    def _drawn(self, place: int, batch: Batch, case: Case, oracle: Oracle | None = None) -> Drawing:
        shape = batch.depth, batch.width, batch.rows
        if oracle is None:
            return {arithmetic: Drawn.of(place, batch, case, arithmetic) for arithmetic in self._arithmetics()}
        try:
            if shape in self.prepared:
                self.prepared[shape].result()
            with self.watch.step(Step(oracle.name, "batched", *shape)):
                return {
                    arithmetic: Drawn.of(place, batch, case, arithmetic, oracle) for arithmetic in self._arithmetics()
                }
        except EngineError as error:  # it failed, or an earlier worker did not survive it
            drawing = self._drawn(place, batch, case)
            return {arithmetic: replace(drawn, unchecked=str(error)) for arithmetic, drawn in drawing.items()}

    def verify_batch(self, drawing: Drawing) -> Future[Any]:
        """Run every engine on one batch, and have the clerk judge each against the truth, and each pair against each other.

        Nothing of a batch is counted before all engines have run on it, so that an interrupted run can be gone on with.

        Returns:
            When the clerk is done with it.
        """
        batch = next(iter(drawing.values())).batch
        shape = (batch.depth, batch.width, batch.rows)
        answers: dict[str, Measured] = {}
        given: list[tuple[Arithmetic, Result]] = []
        to_count: list[Callable[[], None]] = [partial(self._settle, drawing, given)]
        for name, entrant in self.entrants.items():
            arithmetic = entrant.platform.arithmetic
            engine, drawn = entrant.engine, drawing[arithmetic]
            self.watch.interruption.check()
            if isinstance(engine, Engine) and (reason := engine.limit(*shape)):
                to_count.append(partial(self._declined, name, drawn, reason))
                continue
            try:
                program, seconds = self._program(name, entrant, shape)
                to_count.append(partial(self._compiled_in, name, drawn, seconds))
                with self.watch.step(Step(name, "batched", *shape)), jax.default_device(entrant.platform.device):
                    answered = self._ask(program, drawn)
            except EngineError as error:
                to_count.append(partial(self._failed, name, drawn, str(error)))
                continue
            given.append((arithmetic, answered.answer))
            to_count.append(partial(self._judge, name, program, drawing, arithmetic, answered, answers))
        return self.clerk.submit(self._count_batch, batch, to_count, answers)

    def _ask(self, program: Protocol, drawn: Drawn) -> _Answered:
        """Run a program on a batch; on the first batch of a row run it again, and have it show its system."""
        case = drawn.case
        start = time.perf_counter()
        gradients = answer(program, case, drawn.placed)
        seconds = time.perf_counter() - start
        first = read_result(case, gradients)
        if drawn.batch.number or first.malformed:
            return _Answered(first, seconds=seconds)
        try:
            again = read_result(case, answer(program, case, drawn.placed))
        except EngineError:
            again = Result(None, "it failed")
        try:
            return _Answered(first, again, _system_of(program, drawn), seconds=seconds)
        except Exception as error:  # a second run may fail where the first did not
            trouble = f"it failed when it was run on the same batch again: {sentence(error)}"
            return _Answered(first, again, None, trouble, seconds)

    def _program(self, name: str, entrant: Entrant, shape: tuple[int, int, int]) -> tuple[Protocol, float]:
        """Return a program for batches of a shape, and the seconds that it took to compile, the first time."""
        engine = entrant.engine
        if not isinstance(engine, Engine):
            return engine, 0.0
        future = self.programs.get((name, *shape))
        try:
            program, seconds = future.result() if future else self._compile(name, engine, entrant.platform, shape)
        except EngineError:
            raise
        except Exception as error:  # a compiler's failure is the engine's
            raise EngineError(f"it did not compile: {sentence(error)}") from error
        if seconds:
            done: Future[tuple[Protocol, float]] = Future()
            done.set_result((program, 0.0))
            self.programs[name, *shape] = done
        return program, seconds

    # What the clerk does.

    def tally(self, engine: str, execution: str, batch: Batch) -> Tally:
        """Return the count of a row, begun if need be."""
        key = RowKey(engine, execution, batch.ensemble, batch.depth, batch.width)
        if key not in self.counts.tallies:
            self.counts.tallies[key] = Tally(key)
        return self.counts.tallies[key]

    def note(self, place: int, rejection: Rejection | None) -> None:
        """Keep a rejection, with its place in the run."""
        if rejection is not None:
            self.counts.rejections.append((place, rejection))

    def _declined(self, name: str, drawn: Drawn, reason: str) -> None:
        self.tally(name, "batched", drawn.batch).declined = reason

    def _failed(self, name: str, drawn: Drawn, reason: str) -> None:
        tally = self.tally(name, "batched", drawn.batch)
        self.note(drawn.place, tally.fail(drawn.batch.judged, drawn.case.ids[0], reason))

    def _compiled_in(self, name: str, drawn: Drawn, seconds: float) -> None:
        self.tally(name, "batched", drawn.batch).compile_s += seconds

    def _judge(
        self,
        name: str,
        program: Protocol,
        drawing: Drawing,
        arithmetic: Arithmetic,
        answered: _Answered,
        answers: dict[str, Measured],
    ) -> None:
        """Judge an answer; on the first batch of a row see whether it repeats itself, and judge its two steps apart."""
        drawn = drawing[arithmetic]
        ids, tally = drawn.case.ids, self.tally(name, "batched", drawn.batch)
        tally.run_s += answered.seconds
        measured = drawn.measure(answered.answer)
        self.note(drawn.place, tally.add(measured, partial(self._failed_step, name, program, drawn)))
        if answered.answer.malformed:
            return
        answers[name] = measured
        if answered.again is not None and not answered.again.same_bits(answered.answer):
            self.note(drawn.place, tally.unsteady(ids[0], "it gave other bits when it was run on the same batch again"))
        if answered.trouble:
            self.note(drawn.place, tally.unsteady(ids[0], answered.trouble))
        if answered.system is not None:
            self._judge_steps(drawn, tally.key, judge_steps(drawn.case, *answered.system, drawn.derived))

    def _settle(self, drawing: Drawing, given: Sequence[tuple[Arithmetic, Result]]) -> None:
        """Decide by whose truth and bounds a batch is counted; count how another oracle's compare with NumPy's."""
        for arithmetic, drawn in drawing.items():
            drawing[arithmetic] = drawn.settled(answer for whose, answer in given if whose == arithmetic)
            self._judge_oracle(drawing[arithmetic])

    def _judge_oracle(self, drawn: Drawn) -> None:
        if self.oracle is None or not (drawn.checked or drawn.unchecked):
            return
        several = len(self._arithmetics()) > 1
        name = f"{self.oracle.name} for {drawn.envelope.arithmetic.name}" if several else self.oracle.name
        key = RowKey(name, "batched", drawn.batch.ensemble, drawn.batch.depth, drawn.batch.width)
        tally = self.counts.steps.setdefault((_TRUTH, key), StepTally(key, judged=_TRUTH))
        ids, judgement = drawn.case.ids, drawn.checked
        if judgement is None:
            self.note(drawn.place, tally.fail(drawn.batch.judged, ids[0], drawn.unchecked))
        else:
            units = Units(judgement.envelope, drawn.batch.judged)
            self.note(drawn.place, tally.add(Measured(judgement, ids, units)))

    def _failed_step(self, name: str, program: Protocol, drawn: Drawn, row: int) -> str:
        """Say which step of a visible engine failed on a case; the system is asked for once more."""
        batch = drawn.batch
        try:
            with self.watch.step(Step(name, "batched", batch.depth, batch.width, batch.rows)):
                system = _system_of(program, drawn)
        except Exception as error:  # it may fail now where it did not before
            return f"it failed when it was run on the same batch again: {sentence(error)}"
        return "" if system is None else judge_steps(drawn.case, *system, drawn.derived).failed(row)

    def _judge_steps(self, drawn: Drawn, key: RowKey, steps: Steps) -> None:
        rows = drawn.batch.judged
        for judged, judgement in (("linearisation", steps.linearisation), ("substitution", steps.substitution)):
            tally = self.counts.steps.setdefault((judged, key), StepTally(key, judged=judged))
            measured = Measured(judgement, drawn.case.ids, Units(judgement.envelope, rows))
            self.note(drawn.place, tally.add(measured))
            if judged == "substitution":
                tally.compare(judgement.envelope, drawn.envelope, rows)

    def _count_batch(self, batch: Batch, to_count: Sequence[Callable[[], None]], answers: dict[str, Measured]) -> None:
        """Judge all answers, then compare each pair; the batch is then done."""
        for count in to_count:
            count()
        pair_bounds: dict[frozenset[Units], PairBound] = {}
        for a, b in combinations([name for name in self.entrants if name in answers], 2):
            one, other = answers[a].units, answers[b].units
            if (both := frozenset((one, other))) not in pair_bounds:
                pair_bounds[both] = PairBound(one, other)
            key = (a, b, batch.ensemble, batch.depth, batch.width)
            pair = self.counts.pairs.setdefault(key, Pair(*key))
            pair.add(pair_bounds[both].agreement(answers[a], answers[b]))
        self.done += 1
        self.watch.hand_over(self.state)

    # What is run one by one: each returns what the clerk has to do for it.

    def verify_sample(self, batch: Batch, execution: str, place: int) -> Callable[[], None]:
        """Run our own engines on the one case of a batch, without batch axis: jitted ("single"), or op by op ("eager")."""
        drawing = (
            self.draw((place, batch)) if self.case is None else self._drawn(place, batch, rebuild(self.case).as_batch())
        )
        found: dict[str, tuple[Drawn, Judgement | str, float]] = {}
        for label, engine, platform in self._ours():
            drawn = drawing[platform.arithmetic]
            self.watch.interruption.check()
            start = time.perf_counter()
            try:
                with self.watch.step(Step(label, execution, batch.depth, batch.width, 1)):
                    gradients = answer(one_by_one(engine, execution, platform.device), drawn.case)
                judged = judge(drawn.case, gradients, arithmetic=platform.arithmetic, within=drawn.envelope)
            except EngineError as error:
                judged = str(error)
            found[label] = drawn, judged, time.perf_counter() - start
        return partial(self._count_sample, execution, found)

    def _count_sample(self, execution: str, found: dict[str, tuple[Drawn, Judgement | str, float]]) -> None:
        for label, (drawn, judged, seconds) in found.items():
            tally = self.tally(label, execution, drawn.batch)
            if isinstance(judged, str):
                self.note(drawn.place, tally.fail(1, drawn.case.ids[0], judged))
            else:
                tally.run_s += seconds
                self.note(drawn.place, tally.add(Measured(judged, drawn.case.ids, drawn.units)))

    def sweep_activation(self, measurement: Measurement, named: Callable[[str], str], place: int) -> Callable[[], None]:
        """Measure one activation alone, in one way; `named` says what a report calls it."""
        row = self._swept(named(str(measurement)), measurement.row, measurement.failed)
        row |= {"activation": named(row["activation"])}
        return partial(self.counts.activations.__setitem__, place, row)

    def sweep_function(self, sweep: Sweep, named: Callable[[str], str], place: int) -> Callable[[], None]:
        """Sweep one function alone, in one way; `named` says what a report calls it."""
        rows = self._swept(named(str(sweep)), sweep.rows, sweep.failed)
        rows = [row | {"function": named(row["function"])} for row in rows]
        return partial(self.counts.functions.__setitem__, place, rows)

    def _swept(self, what: str, run: Callable[[], Any], failed: Callable[[str], Any]) -> Any:
        self.watch.interruption.check()
        try:
            with self.watch.step(Step(what, "sweep")):
                return run()
        except Exception as error:  # the function under test may raise anything
            return failed(str(error) if isinstance(error, EngineError) else f"it raised {sentence(error)}")


def _ahead(
    batches: Iterable[tuple[int, Batch]],
    draw: Callable[[tuple[int, Batch]], Drawing],
    drawers: Any,
    count: int,
    time_is_up: Callable[[], bool],
) -> Iterator[Drawing]:
    """Yield each batch, drawn, while so many of the next ones are being drawn."""
    upcoming: deque[Future[Drawing]] = deque()
    for placed in batches:
        if time_is_up():
            return
        upcoming.append(drawers.submit(draw, placed))
        if len(upcoming) > count:
            yield upcoming.popleft().result()
    while upcoming and not time_is_up():
        yield upcoming.popleft().result()


def _system_of(program: Protocol, drawn: Drawn) -> tuple[Any, Any, Any, Any] | None:
    """Return the gradients, couplings, slopes and states of a visible program; None where the system is not visible."""
    if not (isinstance(program, Compiled) and program.visible):
        return None
    gradients, system = program.solved(placed_for(program, drawn.case, drawn.placed))
    return gradients, np.asarray(system.couplings), np.asarray(system.slopes), np.asarray(system.states)


def _turned(case: Case, row: int) -> Case:
    """Return a batch turned so that a row comes first."""
    chain, turned = case.chain, partial(np.roll, shift=-row, axis=0)
    return Case(
        Chain(turned(chain.weights), turned(chain.biases), chain.activations),
        turned(case.inputs),
        turned(case.targets),
        (*case.ids[row:], *case.ids[:row]),
    )
