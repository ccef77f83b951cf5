"""The campaign: engines × ensembles, in batches, streamed past the judge into records.

While the engines run on one batch, NumPy draws the next and works out its truth and bound in a second thread.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import numpy as np

from chainback.bounds import Envelope, envelope
from chainback.case import Case, Chain
from chainback.counts import Counts, part_of
from chainback.device import arithmetic_of, device_of, matmul_setting
from chainback.engines import Engine
from chainback.engines.engine import Compiled
from chainback.ensembles import ENSEMBLES, CaseId, Ensemble, draw, ensemble, rebuild
from chainback.environment import environment
from chainback.errors import EngineError, UsageError, sentence
from chainback.function_sweep import Sweep, sweeps
from chainback.judgement import Judgement, Steps, judge, judge_steps
from chainback.plan import MOST_LAYERS_ONE_BY_ONE, Batch, plan, sample_shape
from chainback.protocol import Protocol, answer, engines_named, one_by_one
from chainback.report import REPORT_FILES, SCHEMA, Report, writable_folder
from chainback.rounding import Arithmetic
from chainback.supervision import Step, Watch
from chainback.sweep import Measurement, measurements
from chainback.tally import SHARP_FLOOR, Pair, Rejection, RowKey, StepTally, Tally, Yardstick

__all__ = ["Progress", "verify", "work"]

#: A run plans its batches ahead; more cases than this are better run under several seeds.
_MOST_CASES = 1_000_000_000
#: What else decides which cases are run.
_ASKED = ("depths", "widths", "samples", "activations", "functions")
Array = Any
#: Told (cases done, cases in all, what is being done).
Progress = Callable[[int, int, str], None]


@dataclass
class _Drawn:
    batch: Batch
    case: Case
    envelope: Envelope
    yardstick: Yardstick


@dataclass
class _Run:
    """The state of one campaign.

    Attributes:
        engines: Under test, by name.
        seed: Of the cases.
        device: Under test.
        arithmetic: Its rounding model.
        setting: JAX's matmul precision, to compile under in other threads.
        watch: Whoever supervises.
        places: Where in the whole run the batches and tasks of this part of it stand.
        case: The one case to judge, first in its batch; None for all.
        done: How many of them are done.
        counts: What was counted.
        programs: What was compiled, or is being compiled.
    """

    engines: dict[str, Protocol]
    seed: int
    device: Any
    arithmetic: Arithmetic
    setting: str | None
    watch: Watch
    places: Sequence[int] = ()
    case: CaseId | None = None
    done: int = 0
    counts: Counts = field(default_factory=Counts)
    programs: dict[tuple[str, int, int, int], Future[tuple[Protocol, float]]] = field(default_factory=dict)

    def tally(self, engine: str, execution: str, ensemble: str, depth: int, width: int) -> Tally:
        key = RowKey(engine, execution, ensemble, depth, width)
        return self.counts.tallies.setdefault(key, Tally(key))

    def note(self, rejection: Rejection | None) -> None:
        if rejection is not None:
            self.counts.rejections.append((self.places[self.done], rejection))

    def state(self) -> tuple[int, Counts]:
        """Return what was counted so far, for another process to go on from."""
        return self.done, self.counts

    def compile_all(self, batches: Sequence[Batch], pool: ThreadPoolExecutor) -> None:
        """Start to compile our own engines for every shape of the run, in the order in which they are needed."""
        for shape in dict.fromkeys((b.depth, b.width, b.rows) for b in batches):
            for name, engine in self.engines.items():
                if isinstance(engine, Engine) and not engine.limit(*shape):
                    self.programs[name, *shape] = pool.submit(self._compile, name, engine, shape)

    def _compile(self, name: str, engine: Engine, shape: tuple[int, int, int]) -> tuple[Protocol, float]:
        # JAX's setting is this thread's own; what counts is that of the thread which called.
        with self.watch.step(Step(name, "compile", *shape)), jax.default_matmul_precision(self.setting):
            start = time.perf_counter()
            program = engine.compile(*shape, self.device)
            return program, time.perf_counter() - start

    def draw(self, batch: Batch) -> _Drawn:
        case = draw(
            batch.ensemble, seed=self.seed, depth=batch.depth, width=batch.width, batch=batch.number, rows=batch.rows
        )
        return self.drawn(batch, case if self.case is None else _turned(case, self.case.row))

    def drawn(self, batch: Batch, case: Case) -> _Drawn:
        bounds = envelope(case, self.arithmetic)
        return _Drawn(batch, case, bounds, Yardstick(bounds, batch.judged))

    def verify_batch(self, drawn: _Drawn) -> None:
        """Run every engine on one batch, judge each against the truth, and each pair against each other."""
        batch, ids = drawn.batch, drawn.case.ids
        answers: dict[str, Array] = {}
        for name, engine in self.engines.items():
            self.watch.interruption.check()
            tally = self.tally(name, "batched", batch.ensemble, batch.depth, batch.width)
            shape = (batch.depth, batch.width, batch.rows)
            if isinstance(engine, Engine) and (reason := engine.limit(*shape)):
                tally.note = reason
                continue
            try:
                program = self._program(name, engine, shape, tally)
                with self.watch.step(Step(name, "batched", *shape)):
                    judgement = self._run_batch(program, drawn, tally)
            except EngineError as error:
                self.note(tally.fail(batch.judged, ids[0], str(error)))
                continue
            if not judgement.malformed:
                answers[name] = drawn.yardstick.select(judgement.got)
        self._compare(drawn, answers)

    def _run_batch(self, program: Protocol, drawn: _Drawn, tally: Tally) -> Judgement:
        """Run a program on a batch and judge what it says; on the first batch of a row see whether it repeats itself."""
        ids = drawn.case.ids
        start = time.perf_counter()
        gradients = answer(program, drawn.case)
        tally.run_s += time.perf_counter() - start
        judgement = judge(drawn.case, gradients, arithmetic=self.arithmetic, within=drawn.envelope)
        self.note(tally.add(judgement, ids, drawn.yardstick, partial(self._failed_step, program, drawn)))
        if drawn.batch.number == 0 and not judgement.malformed:
            if not self._repeats(program, drawn, judgement):
                self.note(tally.unsteady(ids[0], "it gave other bits when it was run on the same batch again"))
            try:
                self._verify_steps(program, drawn, tally.key)
            except Exception as error:  # a second run may fail where the first did not
                self.note(
                    tally.unsteady(ids[0], f"it failed when it was run on the same batch again: {sentence(error)}")
                )
        return judgement

    def _repeats(self, program: Protocol, drawn: _Drawn, first: Judgement) -> bool:
        """Whether a second run on the same batch gives the same bits."""
        try:
            again = judge(drawn.case, answer(program, drawn.case), arithmetic=self.arithmetic, within=drawn.envelope)
        except EngineError:
            return False
        return again.got.tobytes() == first.got.tobytes()

    def _steps_of(self, program: Protocol, drawn: _Drawn) -> Steps | None:
        """Judge linearisation and substitution apart; None where the system is not visible."""
        if not (isinstance(program, Compiled) and program.visible):
            return None
        case = drawn.case
        gradients, system = program.run(
            case.chain.weights, case.chain.biases, case.chain.activations, case.inputs, case.targets
        )
        return judge_steps(case, gradients, system.couplings, system.slopes, system.states, drawn.envelope)

    def _failed_step(self, program: Protocol, drawn: _Drawn, row: int) -> str:
        steps = self._steps_of(program, drawn)
        return steps.failed(row) if steps else ""

    def _verify_steps(self, program: Protocol, drawn: _Drawn, key: RowKey) -> None:
        steps = self._steps_of(program, drawn)
        if steps is None:
            return
        rows = drawn.batch.judged
        for judged, judgement in (("linearisation", steps.linearisation), ("substitution", steps.substitution)):
            tally = self.counts.steps.setdefault((judged, key), StepTally(key, judged=judged))
            rejection = tally.add(judgement, drawn.case.ids, Yardstick(judgement.envelope, rows))
            if rejection is not None:
                self.note(replace(rejection, reason=f"its {judged} is wrong: {rejection.reason}"))
            if judged == "substitution":
                tally.compare(judgement.envelope, drawn.envelope, rows)

    def _program(self, name: str, engine: Protocol, shape: tuple[int, int, int], tally: Tally) -> Protocol:
        if not isinstance(engine, Engine):
            return engine
        future = self.programs.get((name, *shape))
        try:
            program, seconds = future.result() if future else self._compile(name, engine, shape)
        except EngineError:
            raise
        except Exception as error:  # a compiler's failure is the engine's
            raise EngineError(f"it did not compile: {sentence(error)}") from error
        if seconds:
            tally.compile_s += seconds
            done: Future[tuple[Protocol, float]] = Future()
            done.set_result((program, 0.0))
            self.programs[name, *shape] = done
        return program

    def _compare(self, drawn: _Drawn, answers: dict[str, Array]) -> None:
        per_two_bounds = (0.5 * drawn.yardstick.per_bound).astype(np.float32)
        batch = drawn.batch
        for a, b in combinations(answers, 2):
            key = (a, b, batch.ensemble, batch.depth, batch.width)
            pair = self.counts.pairs.setdefault(key, Pair(*key))
            pair.add(answers[a], answers[b], per_two_bounds, drawn.yardstick.informative_pairs)

    def verify_sample(self, batch: Batch, execution: str) -> None:
        """Run our own engines on the one case of a batch, without batch axis: jitted ("single"), or op by op ("eager")."""
        drawn = self.draw(batch) if self.case is None else self.drawn(batch, rebuild(self.case).as_batch())
        name, depth, width = batch.ensemble, batch.depth, batch.width
        for label, engine in self.engines.items():
            if not isinstance(engine, Engine):
                continue
            self.watch.interruption.check()
            tally = self.tally(label, execution, name, depth, width)
            start = time.perf_counter()
            try:
                with self.watch.step(Step(label, execution, depth, width, 1)):
                    gradients = answer(one_by_one(engine, execution, self.device), drawn.case)
            except EngineError as error:
                self.note(tally.fail(1, drawn.case.ids[0], str(error)))
                continue
            tally.run_s += time.perf_counter() - start
            judgement = judge(drawn.case, gradients, arithmetic=self.arithmetic, within=drawn.envelope)
            self.note(tally.add(judgement, drawn.case.ids, drawn.yardstick))

    def sweep_activation(self, measurement: Measurement) -> None:
        """Measure one activation alone, in one way."""
        self.watch.interruption.check()
        try:
            with self.watch.step(Step(str(measurement), "sweep")):
                row = measurement.row()
        except Exception as error:  # the function under test may raise anything
            row = measurement.failed(str(error) if isinstance(error, EngineError) else f"it raised {sentence(error)}")
        self.counts.activations[self.places[self.done]] = row

    def sweep_function(self, sweep: Sweep) -> None:
        """Sweep one function alone, in one way."""
        self.watch.interruption.check()
        try:
            with self.watch.step(Step(str(sweep), "sweep")):
                rows = sweep.rows()
        except Exception as error:  # the function under test may raise anything
            rows = sweep.failed(str(error) if isinstance(error, EngineError) else f"it raised {sentence(error)}")
        self.counts.functions[self.places[self.done]] = rows


def _turned(case: Case, row: int) -> Case:
    """Return a batch turned so that a row comes first."""
    chain, turned = case.chain, partial(np.roll, shift=-row, axis=0)
    return Case(
        Chain(turned(chain.weights), turned(chain.biases), chain.activations),
        turned(case.inputs),
        turned(case.targets),
        (*case.ids[row:], *case.ids[:row]),
    )


def _sampled(families: Sequence[Ensemble], seed: int) -> list[tuple[Ensemble, str]]:
    """Return two families to run jitted one by one and two to run un-jitted; other seeds take others."""
    turned = [families[(place + 2 * seed) % len(families)] for place in range(min(4, len(families)))]
    if len(turned) == 1:
        return [(turned[0], "single"), (turned[0], "eager")]
    return [(family, "single" if place % 2 else "eager") for place, family in enumerate(turned)]


def verify(
    *,
    engines: str | Iterable[str | Protocol] = "all",
    ensembles: str | Iterable[str] = "all",
    cases: int = 20_000,
    seed: int = 0,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    platform: str | None = None,
    activations: bool = True,
    samples: bool = True,
    functions: bool = False,
    sharp_floor: float = SHARP_FLOOR,
    shard: str | None = None,
    case: str | None = None,
    output: str | os.PathLike[str] | None = None,
    junit: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Draw random chains, compute their gradients by every engine, and judge every component.

    Args:
        engines: "all", "none", or an iterable of names of `ENGINES`, paths `package.module:name`, and callables that follow
            the protocol of `Engine`.
        ensembles: "all", or an iterable of names of `ENSEMBLES`.
        cases: How many chains each engine is given.
        seed: Decides which.
        depths: Depths to use instead of each family's own. More than eight are sampled.
        widths: Widths to use instead of each family's own.
        platform: "cpu", "gpu", …; default: JAX's own choice.
        activations: Whether to sweep every activation alone, too.
        samples: Whether to run a few cases one by one as well, jitted and un-jitted.
        functions: Whether to sweep every elementary function, too; without an engine, these alone.
        sharp_floor: An engine of which a smaller share of the components is judged sharply (`Arithmetic.sharp_bound`: in
            float32, bound <= 10⁻³ of the truth) is undecided, not accepted.
        case: The id of the one case to run, in its batch and alone, instead of those that the arguments above decide.
        shard: "K/M": run the K-th of M disjoint parts of the same cases; `merge` joins their reports.
        output: Folder to write the report to; found to be writable before the run starts.
        junit: File to write a JUnit report to, likewise.
        progress: Called as the run goes on.
        clock: Tells the time that the report states.

    Returns:
        The report. After KeyboardInterrupt it holds what was finished, and is marked incomplete.

    Raises:
        UsageError: An argument cannot be used.
    """
    if output is not None:
        writable_folder(output, REPORT_FILES)
    if junit is not None:
        writable_folder(Path(junit).parent, (Path(junit).name,))
    asked = _Asked(
        engines,
        ensembles,
        cases,
        seed,
        depths,
        widths,
        platform,
        activations,
        samples,
        functions,
        sharp_floor,
        shard,
        case,
    )
    watch = Watch()
    with watch.interruption:
        report = _campaign(asked, watch, progress or (lambda done, total, what: None), clock)
    if output is not None:
        report.write(output)
    if junit is not None:
        report.write_junit(junit)
    return report


def work(arguments: dict[str, Any], state: Any, watch: Watch) -> Report:
    """Run a campaign in a worker process: see `supervision`."""

    def tell(*done: Any) -> None:
        if watch.send is not None:
            watch.send(("progress", done))

    return _campaign(_Asked(**arguments), watch, tell, state=state)


@dataclass(frozen=True)
class _Asked:
    """The arguments of `verify` that decide what is run."""

    engines: str | Iterable[str | Protocol] = "all"
    ensembles: str | Iterable[str] = "all"
    cases: int = 20_000
    seed: int = 0
    depths: Sequence[int] | None = None
    widths: Sequence[int] | None = None
    platform: str | None = None
    activations: bool = True
    samples: bool = True
    functions: bool = False
    sharp_floor: float = SHARP_FLOOR
    shard: str | None = None
    case: str | None = None


def _campaign(
    asked: _Asked,
    watch: Watch,
    tell: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    state: tuple[int, Counts] | None = None,
) -> Report:
    _require_numbers(cases=asked.cases, seed=asked.seed, depths=asked.depths, widths=asked.widths)
    if not 0.0 <= asked.sharp_floor <= 1.0:
        raise UsageError(f"`sharp_floor` must be a share from 0 to 1, got {asked.sharp_floor}")
    chosen = engines_named(asked.engines, watch)
    if not chosen and not asked.functions:
        raise UsageError("no engine to run: name one with `engines`, or add your own")
    asked, families, batches, samples = _planned(asked) if chosen else (asked, [], [], [])
    device = device_of(asked.platform)
    run = _Run(chosen, asked.seed, device, arithmetic_of(device), matmul_setting(), watch)
    watch.started()
    run.case = None if asked.case is None else CaseId.parse(asked.case)
    tasks = _afterwards(run, samples, asked)
    k, m = part_of(asked.shard)
    run.places = range(k - 1, len(batches) + len(tasks), m)
    mine, then = batches[k - 1 :: m], [tasks[place - len(batches)] for place in run.places if place >= len(batches)]
    if state is not None:
        run.done, run.counts = state
    start, begun, stopped = time.perf_counter(), clock(), ""
    try:
        with jax.default_device(device):
            _run_batches(run, mine, tell)
            cases = sum(batch.judged for batch in mine)
            for what, task in then[max(0, run.done - len(mine)) :]:
                tell(cases, cases, what)
                task()
                run.done += 1
                watch.hand_over(run.state)
            tell(cases, cases, "done")
    except KeyboardInterrupt:
        stopped = f"interrupted after {sum(t.cases for t in run.counts.tallies.values())} answers"
    return _report(run, asked, families, batches, begun, time.perf_counter() - start, stopped)


def _planned(asked: _Asked) -> tuple[_Asked, list[Ensemble], list[Batch], list[tuple[Batch, str]]]:
    """Return what is asked for, its families, their batches, and the cases to run one by one, with how to run them."""
    if asked.case is not None:
        one = CaseId.parse(asked.case)
        rebuild(one)
        batch = Batch(one.ensemble, one.depth, one.width, one.batch, max(one.rows or 1, one.row + 1), 1)
        alone = [(replace(batch, rows=1), execution) for execution in ("single", "eager")]
        asked = replace(asked, cases=1, seed=one.seed, ensembles=[one.ensemble], activations=False)
        return asked, [ensemble(one.ensemble)], [batch], alone if one.depth <= MOST_LAYERS_ONE_BY_ONE else []
    wanted = asked.ensembles
    names = list(ENSEMBLES) if wanted == "all" else [wanted] if isinstance(wanted, str) else list(wanted)
    families = [ensemble(name) for name in dict.fromkeys(names)]
    batches = plan(families, cases=asked.cases, seed=asked.seed, depths=asked.depths, widths=asked.widths)
    alone = []
    for family, execution in _sampled(families, asked.seed) if asked.samples else ():
        shape = sample_shape(family, asked.seed, asked.depths, asked.widths)
        if shape is not None:
            alone.append((Batch(family.name, *shape, 0, 1, 1), execution))
    return asked, families, batches, alone


def _run_batches(run: _Run, batches: Sequence[Batch], tell: Progress) -> None:
    """Run the engines on every batch that is not done yet, while NumPy draws the next one and works out its truth."""
    compilers, drawers = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
    cases = sum(batch.judged for batch in batches)
    try:
        tell(0, cases, "compiling")
        remaining = batches[run.done :]
        if not run.watch.careful:
            run.compile_all(remaining, compilers)
            if not all(isinstance(engine, Engine) for engine in run.engines.values()):
                wait(run.programs.values())  # an engine of the user's own may trace, too
        done = sum(batch.judged for batch in batches[: run.done])
        upcoming = drawers.submit(run.draw, remaining[0]) if remaining else None
        for place, batch in enumerate(remaining):
            assert upcoming is not None
            drawn = upcoming.result()
            if place + 1 < len(remaining):
                upcoming = drawers.submit(run.draw, remaining[place + 1])
            tell(done, cases, f"{batch.ensemble} {batch.depth}x{batch.width}")
            run.verify_batch(drawn)
            done += batch.judged
            run.done += 1
            run.watch.hand_over(run.state)
    finally:
        for pool in (compilers, drawers):
            pool.shutdown(wait=False, cancel_futures=True)


def _afterwards(run: _Run, samples: Sequence[tuple[Batch, str]], asked: _Asked) -> list[tuple[str, Callable[[], None]]]:
    """Return what follows the batches: cases one by one, activations alone, functions alone.

    The first two where engines of ours are among the chosen.
    """
    tasks: list[tuple[str, Callable[[], None]]] = []
    ours = any(isinstance(engine, Engine) for engine in run.engines.values())
    for batch, execution in samples if ours else ():
        tasks.append((f"one by one: {batch.ensemble}", partial(run.verify_sample, batch, execution)))
    if asked.activations and ours:
        for measurement in measurements(run.arithmetic, run.device):
            tasks.append(("activations", partial(run.sweep_activation, measurement)))
    if asked.functions:
        for sweep in sweeps(run.arithmetic, run.device):
            tasks.append(("functions", partial(run.sweep_function, sweep)))
    return tasks


def _require_numbers(**named: Any) -> None:
    for name, value in named.items():
        plural = name in ("depths", "widths")
        if plural and value is None:
            continue
        try:
            numbers = [operator.index(v) for v in value] if plural else [operator.index(value)]
        except TypeError:
            kind = "whole numbers" if plural else "a whole number"
            raise UsageError(f"`{name}` must be {kind}, got {value!r:.60}") from None
        if name == "cases" and numbers[0] > _MOST_CASES:
            raise UsageError(f"`cases` must be at most {_MOST_CASES:,}, got {numbers[0]:,}: split the run by seeds")


def _plain(value: Any) -> Any:
    return [int(number) for number in value] if isinstance(value, Sequence) else value


def _left_out(families: Sequence[Ensemble], batches: Sequence[Batch], depths: Sequence[int] | None) -> str:
    """Say which of the families and depths that were asked for no batch takes."""
    seen = {batch.ensemble for batch in batches}
    without = [family.name for family in families if family.name not in seen]
    parts = [f"too few cases for the ensembles {', '.join(without)}"] if without else []
    missing = sorted(set(depths or ()) - {batch.depth for batch in batches})
    if missing:
        some = ", ".join(map(str, missing[:12])) + (", …" if len(missing) > 12 else "")
        parts.append(f"of the depths asked for, {some} were only met as shorter chains padded to another one")
    return "; ".join(parts)


def _report(
    run: _Run,
    asked: _Asked,
    families: Sequence[Ensemble],
    batches: Sequence[Batch],
    begun: datetime,
    elapsed: float,
    stopped: str,
) -> Report:
    facts = environment(begun)
    identity = {  # the columns of report.IDENTITY
        "schema": SCHEMA,
        "jax": facts["packages"].get("jax", ""),
        "jaxlib": facts["packages"].get("jaxlib", ""),
        "platform": run.device.platform,
        "device_kind": run.device.device_kind,
        "dtype": "float32",
        "matmul_precision": run.arithmetic.name,
    }
    facts |= identity | {
        "seed": run.seed,
        "cases": asked.cases,
        "asked": {name: _plain(getattr(asked, name)) for name in _ASKED},
        "engines": list(run.engines),
        "ensembles": {family.name: family.version for family in families},
        "complete": not stopped,
        "elapsed_s": round(elapsed, 3),
        "sharp_floor": asked.sharp_floor,
        "sharp_bound": run.arithmetic.sharp_bound,
        "matmul_setting": run.setting or "default",
    }
    if stopped:
        facts["stopped"] = stopped
    if asked.shard is not None:
        facts["shard"] = asked.shard
    if left_out := _left_out(families, batches, asked.depths):
        facts["left_out"] = left_out
    return run.counts.report(facts)
