"""How fast, measured: every ratio side by side in one run, each figure beside its target.

What was learned, on 2 cores under JAX 0.10.2:

* Of a batch of narrow chains, eight engines alone take 17 to 25 times what one `value_and_grad` takes, truth and bounds 11
  to 19; the whole 58 to 72 times at depth 8 and 43 to 57 at depth 64, over two runs, where it was 130 to 189 and 76 to 91.
  What was tried for it stands in `runner`. As two cores share engines, truth and judging, 20 would need each twice as quick.
* `np.vdot` of a large array starts threads and waits for them: 11.7 s of a run of 45 s, until nothing that counts used it.
* An unrolled program that switches is traced once a layer: 1.9 s at 33 layers, 0.2 s with the switch itself jitted.
* A scan whose body XLA can fuse runs as one kernel, another as calls handed from thread to thread: at width 8 this is the
  difference between 0.1 and 1.0 of the time of `jax.grad`, which has products in its body. So has a loop that trains: from
  six unrolled layers on, it takes twenty times as long as with five.
* A gradient of one narrow chain waits for one layer after another. So the loss of the learning curve is taken in the loop
  that updates, beside the gradient. With that, layers apart and a stop that is looked for once an epoch, Example 1's
  program went from 7.5 ms to 5.2 – 6.1. Two updates in one turn of the loop take it back to 6.5, four to 64.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax, test_util

from chainback.engines import networks
from chainback.engines.devices import Platform, arithmetic_of, device_of, matmul_setting
from chainback.engines.networks import Array
from chainback.engines.registry import ENGINES, Engine
from chainback.engines.triangular import ExtendedJacobian, linearise
from chainback.engines.user_engines import on_platforms
from chainback.environment import environment
from chainback.errors import UsageError
from chainback.problems.chain import Case
from chainback.problems.ensembles import ENSEMBLES, draw, draw_unpadded
from chainback.processes.watch import Progress, Watch
from chainback.reporting.files import writable_folder
from chainback.running.batch import BatchMaker
from chainback.running.batch_judge import BatchJudge
from chainback.running.device_truth import DeviceTruth
from chainback.running.pipeline import Pipeline
from chainback.running.programs import Programs
from chainback.running.schedule import PlannedBatch
from chainback.studies.bench_results import BENCH_FILES, Benchmark, Figure, seconds
from chainback.studies.quantecon import lecture
from chainback.studies.timing import Clock, Finished, Race, Spread, interleaved, run_process
from chainback.truth.chain_bound import envelope

__all__ = ["ROWS", "bench"]

#: Runs this Python on arguments, with environment variables besides its own.
Runner = Callable[[Sequence[str], Mapping[str, str]], Finished]

_PACKAGE = str(Path(__file__).parents[2])
#: Where growth is to be linear, or none, a measurement may be so much above.
_SLACK = 1.1
#: As many weights as a batch of a run holds.
_WEIGHTS = 1 << 16
#: So many batches are verified in a row, as a run does: drawing the first and judging the last overlap with nothing.
_IN_A_ROW = 24
#: Engines whose time grows with the depth alone.
_LINEAR = ("reverse-scan", "reverse-remat", "triangular-substitution", "triangular-parallel")
#: Of one chain of 10⁶ layers `jax.grad` takes a second and more at width 8.
_FEW_ROUNDS = 5


@dataclass(frozen=True)
class _Setting:
    """What every row is given.

    Attributes:
        quick: Whether to measure something smaller, for a test.
        clock: Tells the time.
        run: Runs a process.
        device: JAX's.
    """

    quick: bool
    clock: Clock
    run: Runner
    device: Any

    def race(self, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = 9) -> Race:
        """Time two things in turns."""
        return interleaved(ours, theirs, rounds=3 if self.quick else rounds, clock=self.clock)

    def verify(self, folder: str, cases: int, *others: str) -> Finished:
        """Run `chainback verify` as a user does, with compiled programs kept in a folder."""
        path = os.pathsep.join(part for part in (_PACKAGE, os.environ.get("PYTHONPATH", "")) if part)
        variables = {"PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": os.path.join(folder, "compiled")}
        arguments = ("--cases", str(cases), "--quiet", "--output", os.path.join(folder, "report"), *others)
        return self.run(("-m", "chainback", "verify", *arguments), variables)


def bench(
    *,
    only: Iterable[str] = (),
    quick: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
    run: Runner = run_process,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Benchmark:
    """Measure how fast chainback is, beside what it is compared with.

    Args:
        only: Names of `ROWS`; default all.
        quick: Measure smaller things, in seconds: good for a test, not for the targets.
        output: Folder for `bench.csv` and `bench.json`; none are written without one.
        progress: Told how far it is.
        clock: Tells seconds.
        run: Runs a process.
        now: Tells the time that the facts state.

    Raises:
        UsageError: A row is unknown, or the folder cannot be written.
    """
    names = list(dict.fromkeys([only] if isinstance(only, str) else only)) or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        raise UsageError(f"row {unknown[0]!r} is not known: use some of {', '.join(ROWS)}")
    if output is not None:
        writable_folder(output, BENCH_FILES)
    setting, say = _Setting(quick, clock, run, device_of(None)), progress or (lambda done, total, what: None)
    facts, start, figures = _facts(setting, now()), clock(), []
    for place, name in enumerate(names):
        say(place, len(names), name)
        figures += [replace(figure, row=name) for figure in ROWS[name](setting)]
    found = Benchmark(tuple(figures), facts | {"elapsed_s": round(clock() - start, 3)})
    if output is not None:
        found.write(output)
    return found


def _facts(setting: _Setting, now: datetime) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    device = {"platform": setting.device.platform, "device_kind": setting.device.device_kind}
    return environment(now) | device | {"load": load, "quick": setting.quick}


# The million, as a process of its own.


def _million(setting: _Setting) -> Iterator[Figure]:
    cases, names = 2_000 if setting.quick else 1_000_000, [e.name for e in ENSEMBLES.values() if not e.deep]
    with tempfile.TemporaryDirectory() as folder:
        for state, most in (("from a cold start", 60.0), ("compiled before", 30.0)):
            ran, what = setting.verify(folder, cases, "--ensembles", ",".join(names)), f"{cases:,} chains, {state}"
            yield _of_process(ran, what, ran.seconds, "s", most)
            yield _of_process(ran, f"{what}: memory", ran.peak / 1e9, "GB", 2.0)


def _deep(setting: _Setting) -> Iterator[Figure]:
    depth, names = 1_000 if setting.quick else 1_000_000, "triangular-substitution,triangular-parallel,reverse-scan"
    asked = ("--ensembles", "deep", "--depths", str(depth), "--engines", names, "--sharp-floor", "0")
    with tempfile.TemporaryDirectory() as folder:
        for state, sense in (("from a cold start", ""), ("compiled before", "<=")):
            ran, what = setting.verify(folder, 1, *asked), f"one chain of {depth:,} layers, verified, {state}"
            yield _of_process(ran, what, ran.seconds, "s", 10.0, sense)


def _of_process(ran: Finished, what: str, value: float, unit: str, most: float, sense: str = "<=") -> Figure:
    """Return a figure of a run of `verify`; of one that was not accepted there is none."""
    note = "" if ran.code == 0 else f"it ended with exit code {ran.code}: {' '.join(ran.said.split())}"
    return Figure(what, Spread.of([] if note else [value]), unit, "<=" if note else sense, most, note=note)


# Batches of one shape, compiled, as a run has them.


def _batches(setting: _Setting, engines: Sequence[str], family: str, depth: int, rows: int) -> Callable[..., None]:
    """Return what verifies so many batches of a shape, drawn, judged and counted, on engines that are compiled already."""
    chosen = {name: ENGINES[name] for name in engines if not ENGINES[name].limit(depth, 1, rows)}
    platform = Platform.of(setting.device.platform, (setting.device,))
    watch, judge = Watch(), BatchJudge()
    programs = Programs(on_platforms(chosen, [platform]), matmul_setting(), watch)
    pipeline = Pipeline(programs, BatchMaker(0, programs.arithmetics), judge, watch)

    def verify(count: int, shapes: Sequence[tuple[int, int, int]] = ()) -> None:
        # The first batch of a row is run twice and has its system judged; the others are what a long run consists of.
        numbers = range(judge.batches_done + 1, judge.batches_done + 1 + count)
        batches = [(n, PlannedBatch(family, depth, 1, n, rows, rows)) for n in numbers]
        pipeline.run(batches, shapes, [], lambda done, what: None)

    verify(1, [(depth, 1, rows)])
    return verify


def _components(setting: _Setting) -> Iterator[Figure]:
    depth, rows, batches, sample = 8, 256 if setting.quick else _WEIGHTS // 8, 2 if setting.quick else _IN_A_ROW, 20
    verify = _batches(setting, tuple(ENGINES), "lecture", depth, rows)
    case = draw_unpadded("lecture", seed=0, depth=depth, width=1, rows=rows)[0]
    loss, arrays = jax.jit(_loss(case.chain.activations)), _placed(case, setting.device)

    def check_one(weights: Array, biases: Array, x: Array, y: Array) -> None:
        test_util.check_grads(lambda w, b: loss(w, b, x, y), (weights, biases), 1, ["rev"], atol=1.0, rtol=1.0)

    def check() -> None:
        for row in range(min(sample, rows)):
            check_one(*(array[row] for array in arrays))

    race = setting.race(lambda: verify(batches), check, 5)
    verified, checked = len(ENGINES) * batches * rows * 2 * depth, min(sample, rows) * 2 * depth
    ours, theirs = (count / taken for count, taken in zip((verified, checked), race.seconds, strict=True))
    yield Figure(
        "components verified per second / check_grads'",
        race.inverse(verified / checked),
        sense=">=",
        target=10_000.0,
        ours=f"{ours:,.0f} /s",
        theirs=f"{theirs:,.0f} /s",
        note=f"{len(ENGINES)} engines on batches of {rows:,} chains of {depth} layers, truth and bounds worked out, "
        f"judged and counted; check_grads (reverse mode, order 1, jitted) takes {min(sample, rows)} such chains one by one",
    )


def _batch(setting: _Setting) -> Iterator[Figure]:
    for depth, most in ((8, 20.0), (16 if setting.quick else 64, 60.0)):
        for family in ("lecture", "mixed"):
            rows = (1 << 9 if setting.quick else _WEIGHTS) // depth
            verify = _batches(setting, tuple(ENGINES), family, depth, rows)
            batches = 4 if setting.quick else _IN_A_ROW
            case = draw_unpadded(family, seed=0, depth=depth, width=1, rows=rows)[0]
            program, arrays = (
                jax.jit(jax.vmap(jax.value_and_grad(_loss(case.chain.activations), (0, 1)))),
                _placed(case, setting.device),
            )
            race = setting.race(functools.partial(verify, batches), _waiting(program, arrays))
            ours, theirs = race.seconds
            yield Figure(
                f"a batch of {family}, depth {depth}: verified / value_and_grad",
                race.ratio(1 / batches),
                target=most,
                ours=seconds(ours / batches),
                theirs=seconds(theirs),
                note=_parts(setting, case, theirs),
            )


def _parts(setting: _Setting, case: Case, unit: float) -> str:
    """Say of what the verification of a batch consists, each part alone, in units of what it is compared with."""
    chain = case.chain
    arguments = (chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
    programs_ = [ENGINES[name].compile(chain.depth, chain.width, len(case), setting.device) for name in ENGINES]
    arithmetic = arithmetic_of(setting.device)
    parts = setting.race(
        lambda: [program(*arguments) for program in programs_], lambda: envelope(case, arithmetic), rounds=3
    ).seconds
    engines, truth = (part / unit for part in parts)
    return f"alone, the {len(ENGINES)} engines take {engines:.0f} of it, truth and bounds {truth:.0f}"


# One chain, by triangular-substitution and by jax.grad.


def _network(names: tuple[str, ...]) -> networks.Program:
    """Return a chain as a user of JAX writes one for a scan: a switch between the activations that there are, or none."""
    among = tuple(dict.fromkeys(names))
    functions = [networks.function(name) for name in among]
    places = np.array([among.index(name) for name in names], np.int32)

    def network(weights: Array, biases: Array, _: Any, x: Array) -> Array:
        def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
            z = layer[0] @ x + layer[1]
            return (lax.switch(layer[2], functions, z) if len(functions) > 1 else functions[0](z)), None

        return lax.scan(step, x, (weights, biases, places))[0]

    return network


def _loss(names: tuple[str, ...]) -> Callable[..., Array]:
    network = _network(names)
    return lambda weights, biases, x, y: networks.loss(network(weights, biases, names, x), y)


def _by_jax(names: tuple[str, ...]) -> Callable[..., tuple[Array, Array]]:
    return jax.jit(jax.grad(_loss(names), argnums=(0, 1)))


def _by(engine: Engine, names: tuple[str, ...]) -> Callable[..., tuple[Array, Array]]:
    return jax.jit(lambda weights, biases, x, y: engine.gradient(weights, biases, names, x, y))


def _placed(case: Case, device: Any) -> tuple[Array, ...]:
    return jax.device_put((case.chain.weights, case.chain.biases, case.inputs, case.targets), device)


def _waiting(program: Callable[..., Any], arguments: Sequence[Any]) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(program(*arguments))


def _triangular(setting: _Setting) -> Iterator[Figure]:
    engine = ENGINES["triangular-substitution"]
    for family in ("deep", "lecture"):
        for width in (1,) if setting.quick else (1, 8):
            for depth in (8, 64) if setting.quick else (8, 64, 1000, 10_000, 100_000, 1_000_000):
                case = draw_unpadded(family, seed=0, depth=depth, width=width, rows=1)[0][0]
                names, arrays = case.chain.activations, _placed(case, setting.device)
                race = setting.race(
                    _waiting(_by(engine, names), arrays),
                    _waiting(_by_jax(names), arrays),
                    _FEW_ROUNDS if depth * width >= 1_000_000 else 15,
                )
                deep = depth >= 100_000
                ours, theirs = map(seconds, race.seconds)
                what = f"{engine.name} / jax.grad, {family}, depth {depth:,}, width {width}"
                yield Figure(what, race.ratio(), "×", "<" if deep else "<=", 0.9 if deep else 1.0, ours, theirs)


def _training(setting: _Setting) -> Iterator[Figure]:
    updates, rounds = (200, 1) if setting.quick else (4_000, 5)
    timings = [lecture.example_one_timing(loop_updates=updates) for _ in range(rounds)]
    loop = Spread.of([timing.loop_s / timing.loop_updates for timing in timings]).median
    whole = Spread.of([timing.program_s for timing in timings]).median
    yield Figure(
        "training, Example 1: the lecture's way / one program",
        Spread.of([timing.ratio for timing in timings]),
        sense=">=",
        target=500.0,
        ours=seconds(whole),
        theirs=seconds(loop * timings[0].updates),
        note=f"{timings[0].updates:,} updates; of the lecture's loop {updates:,} were run",
    )


# How time and memory grow.


def _memory(setting: _Setting) -> Iterator[Figure]:
    cases = 100 if setting.quick else 8 * _WEIGHTS // 8
    with tempfile.TemporaryDirectory() as folder:
        few, many = (
            setting.verify(folder, number, "--ensembles", "lecture", "--depths", "8") for number in (cases, 100 * cases)
        )
    what = f"peak memory, {100 * cases:,} / {cases:,} chains"
    figure = _of_process(many if few.code == 0 else few, what, many.peak / few.peak, "×", _SLACK)
    held = (f"{ran.peak / 1e9:.3g} GB" for ran in (many, few))
    yield replace(figure, ours=next(held), theirs=next(held))


def _grown(what: str, race: Race, times: float) -> Figure:
    more, less = map(seconds, race.seconds)
    return Figure(what, race.ratio(), "×", "<=", times * _SLACK, more, less)


def _cases(setting: _Setting) -> Iterator[Figure]:
    depth, rows, few = 8, 256 if setting.quick else _WEIGHTS // 8, 1 if setting.quick else 3
    verify = _batches(setting, tuple(ENGINES), "lecture", depth, rows)
    race = setting.race(lambda: verify(10 * few), lambda: verify(few), 5)
    yield _grown(f"time, {10 * few * rows:,} / {few * rows:,} chains", race, 10.0)


def _depth(setting: _Setting) -> Iterator[Figure]:
    few, many = (100, 1000) if setting.quick else (1000, 10_000)
    races = {
        name: [_batches(setting, _LINEAR, "deep", depth, rows) for depth in (few, many)] for name, rows in (("", 8),)
    }
    for deep, deeper in races.values():
        race = setting.race(functools.partial(deeper, 4), functools.partial(deep, 4), 5)
        yield _grown(f"time, depth {many:,} / {few:,}: verified by engines of linear time", race, 10.0)
    engines = dict.fromkeys(_LINEAR, (few, many, 10.0)) | {"forward-scan": (few // 10, many // 10, 100.0)}
    for name, (less, more, law) in engines.items():
        sides = []
        for depth in (more, less):
            case = draw_unpadded("deep", seed=0, depth=depth, width=1, rows=1)[0][0]
            sides.append(_waiting(_by(ENGINES[name], case.chain.activations), _placed(case, setting.device)))
        states = "" if law == 10.0 else ", its law N²"
        yield _grown(f"time, depth {more:,} / {less:,}: {name}{states}", setting.race(sides[0], sides[1]), law)


# On a GPU.


def _gpu(setting: _Setting) -> Iterator[Figure]:
    try:
        device = device_of("gpu")
    except UsageError as error:
        yield Figure("triangular-parallel / jax.grad, on a GPU", Spread.of([]), skipped=str(error))
        return
    yield from _in_parallel(setting, device, (1000, 10_000, 100_000, 1_000_000), 1_000_000)


def _in_parallel(setting: _Setting, device: Any, depths: Sequence[int], rows: int) -> Iterator[Figure]:
    """Compare the parallel solver with `jax.grad` through a scan: the whole, the way back, a batch; and the two oracles."""
    engine = ENGINES["triangular-parallel"]
    for depth in depths:
        case = draw_unpadded("deep", seed=0, depth=depth, width=1, rows=1)[0][0]
        names, arrays = case.chain.activations, _placed(case, device)
        race = setting.race(_waiting(_by(engine, names), arrays), _waiting(_by_jax(names), arrays))
        ours, theirs = map(seconds, race.seconds)
        yield Figure(f"jax.grad / {engine.name}, depth {depth:,}", race.inverse(), "×", "", 1.0, ours, theirs)
        race = setting.race(*_ways_back(names, arrays))
        ours, theirs = map(seconds, race.seconds)
        yield Figure(f"the same, the way back alone, depth {depth:,}", race.inverse(), "×", ">=", 10.0, ours, theirs)
    case = draw("lecture", seed=0, depth=8, width=1, batch=1, rows=rows)
    names, arrays = case.chain.activations, _placed(case, device)
    batched = [jax.jit(jax.vmap(program)) for program in (_by(engine, names), _by_jax(names))]
    race = setting.race(_waiting(batched[0], arrays), _waiting(batched[1], arrays))
    ours, theirs = map(seconds, race.seconds)
    yield Figure(f"jax.grad / {engine.name}, {rows:,} chains of depth 8", race.inverse(), "×", "", 1.0, ours, theirs)
    elsewhere, arithmetic = DeviceTruth("", device), arithmetic_of(device)
    race = setting.race(lambda: elsewhere.envelope(case, arithmetic), lambda: envelope(case, arithmetic), 3)
    ours, theirs = map(seconds, race.seconds)
    yield Figure("truth and bounds of them, NumPy / the device's oracle", race.inverse(), "×", "", 1.0, ours, theirs)


def _ways_back(names: tuple[str, ...], arrays: tuple[Array, ...]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the solution of a system that is written down already, and the transpose of a program that has run already."""
    weights, biases, x, y = arrays
    system = jax.jit(lambda w, b, x: linearise(w, b, names, x))(weights, biases, x)

    def solve(system: ExtendedJacobian, y: Array) -> tuple[Array, Array]:
        rhs = jax.numpy.zeros_like(system.slopes).at[-1].set(system.states[-1] - y)
        dbiases = system.slopes * system.solve_transposed(rhs[:, :, None], "parallel")[:, :, 0]
        return dbiases[:, :, None] * system.states[:-1, None, :], dbiases

    loss, back = _loss(names), jax.jit(lambda pull: pull(jax.numpy.ones((), weights.dtype)))
    pull = jax.jit(lambda w, b, x, y: jax.vjp(lambda w, b: loss(w, b, x, y), w, b)[1])(weights, biases, x, y)
    return _waiting(jax.jit(solve), (system, y)), _waiting(back, (pull,))


#: What is measured, by the name under which it can be asked for.
ROWS: dict[str, Callable[[_Setting], Iterator[Figure]]] = {
    "million": _million,
    "deep": _deep,
    "components": _components,
    "batch": _batch,
    "triangular": _triangular,
    "training": _training,
    "memory": _memory,
    "cases": _cases,
    "depth": _depth,
    "gpu": _gpu,
}
