"""The campaign: engines × ensembles, in batches, streamed past the judge into records.

What is asked for becomes a plan, a run of it (`runner`), and a report. A run streams: what it has counted is written every
minute, and a run that was cut off goes on from there. A million chains take 47 s from a cold start on two cores, and 24 s
with compiled programs kept; what was learned on the way there stands, with its figures, in `runner`.
"""

from __future__ import annotations

import itertools
import operator
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax

from chainback.engines.devices import Platform, device_of, matmul_setting, platforms_of
from chainback.engines.registry import Engine
from chainback.engines.user_engines import Protocol, at, engines_named, entrants
from chainback.environment import compiled_before, environment
from chainback.errors import UsageError
from chainback.judging.run_totals import RunTotals
from chainback.judging.tally import SHARP_FLOOR
from chainback.problems.case_id import CaseId
from chainback.problems.ensembles import ENSEMBLES, Ensemble, ensemble, rebuild
from chainback.processes.worker import Step, Watch
from chainback.reporting.report import REPORT_FILES, SCHEMA, Report, writable_folder
from chainback.reporting.shards import Resumed, part_of, report_of, resumed, together
from chainback.running.activation_sweep import measurements
from chainback.running.device_truth import DeviceOracle
from chainback.running.function_sweep import sweeps
from chainback.running.pipeline import Progress, Run, Task
from chainback.running.schedule import MOST_LAYERS_ONE_BY_ONE, Batch, Plan, plan, sample_shape

__all__ = ["Progress", "verify", "work"]

#: A run of more cases than this is better split by seeds.
_MOST_CASES = 1_000_000_000
_CASES = 20_000
#: What works out the truth unless a device is asked to.
NUMPY = "numpy"
#: What else decides which cases are run.
_ASKED = ("depths", "widths", "samples", "activations", "functions")


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
    cases: int | None = None,
    duration: float | None = None,
    seed: int = 0,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    platform: str | None = None,
    truth: str = NUMPY,
    judged_as: str | None = None,
    activations: bool = True,
    samples: bool = True,
    functions: bool = False,
    sharp_floor: float = SHARP_FLOOR,
    shard: str | None = None,
    case: str | None = None,
    resume: bool = False,
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
        cases: How many chains each engine is given; default 20,000, or with `duration` as many as it allows.
        duration: Seconds after which no further batch is begun. What was run until then is a whole run.
        seed: Decides which.
        depths: Depths to use instead of each family's own. More than eight are sampled.
        widths: Widths to use instead of each family's own.
        platform: "cpu", "gpu", …; default: JAX's own choice. Batches are split over all of its devices that this process
            has; "gpu:1" is one of them. Of several, as "cpu,gpu" or "gpu:0,gpu:1", every engine runs on each, on the same
            cases, judged under the arithmetic there, and is called `reverse-scan@gpu`; the engines on one are compared with
            those on another, too. An engine of the user's own is called while the platform's first device is JAX's default.
        truth: What works out the truth and the bounds of batches: "numpy", or a device, as "gpu" or "gpu:1". What a device
            finds is judged against NumPy's, in rows of `steps`: on the first batch of each row, on one in sixteen of the
            rest, and on each with a case that it leaves undecided or an answer that it rejects. See `device_oracle`.
        judged_as: The arithmetic whose bounds every answer is to keep: "float32", "tf32" or "bfloat16". Default: that which
            JAX's matmul precision means on its device. With "float32" a GPU that multiplies in TF32 is rejected.
        activations: Whether to sweep every activation alone, too.
        samples: Whether to run a few cases one by one as well, jitted and un-jitted.
        functions: Whether to sweep every elementary function, too; without an engine, these alone.
        sharp_floor: An engine of which a smaller share of the components is judged sharply (`Arithmetic.sharp_bound`: in
            float32, bound <= 10⁻³ of the truth) is undecided, not accepted.
        case: The id of the one case to run, in its batch and alone, instead of those that the arguments above decide.
        shard: "K/M": run the K-th of M disjoint parts of the same cases; `merge` joins their reports.
        resume: Go on with the run that `output` holds unfinished: with the same arguments it ends as it would have without
            the break. Where the folder holds nothing, the run begins; of a finished one with a `duration` there is more.
        output: Folder to write the report to; found to be writable before the run starts. What was counted is written there
            every minute, too.
        junit: File to write a JUnit report to, likewise.
        progress: Called as the run goes on.
        clock: Tells the time that the report states.

    Returns:
        The report. After KeyboardInterrupt it holds what was finished, and is marked incomplete.

    Raises:
        UsageError: An argument cannot be used, or the unfinished run is another one.
    """
    if resume and output is None:
        raise UsageError("`resume` needs `output`: the folder of the run to go on with")
    if output is not None:
        writable_folder(output, REPORT_FILES)
    if junit is not None:
        writable_folder(Path(junit).parent, (Path(junit).name,))
    asked = _Asked(
        engines,
        ensembles,
        cases,
        duration,
        seed,
        depths,
        widths,
        platform,
        truth,
        judged_as,
        activations,
        samples,
        functions,
        sharp_floor,
        shard,
        case,
        os.fspath(output) if resume and output is not None else None,
    )
    watch = Watch(publish=None if output is None else partial(Report.write, folder=output))
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
    cases: int | None = None
    duration: float | None = None
    seed: int = 0
    depths: Sequence[int] | None = None
    widths: Sequence[int] | None = None
    platform: str | None = None
    truth: str = NUMPY
    judged_as: str | None = None
    activations: bool = True
    samples: bool = True
    functions: bool = False
    sharp_floor: float = SHARP_FLOOR
    shard: str | None = None
    case: str | None = None
    resume: str | None = None

    @property
    def most_cases(self) -> int:
        """How many cases there are to run, at most."""
        if self.cases is not None:
            return self.cases
        return _CASES if self.duration is None else _MOST_CASES


@dataclass(frozen=True)
class _Work:
    """What is to be run, whole, and the part of it that is this run's share.

    Attributes:
        families: The ensembles.
        batches: Of all shards.
        samples: The cases to run one by one, with how to run them.
        shard: (K, M): this is the K-th of M parts.
    """

    families: Sequence[Ensemble]
    batches: Plan | Sequence[Batch]
    samples: Sequence[tuple[Batch, str]]
    shard: tuple[int, int]

    def mine(self, begin: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of this share, from one on, each with its place in the whole."""
        k, m = self.shard
        return itertools.islice(enumerate(self.batches), k - 1 + begin * m, None, m)

    @property
    def parts(self) -> Sequence[Batch]:
        """One batch of each family and shape, with all of its cases."""
        return self.batches.parts if isinstance(self.batches, Plan) else self.batches

    @property
    def cases(self) -> int:
        """How many cases there are in this share."""
        of = self.parts if self.shard == (1, 1) else (batch for _, batch in self.mine())
        return sum(batch.judged for batch in of)

    def shapes(self, begin: int) -> list[tuple[int, int, int]]:
        """Return the shapes (depth, width, rows) of this share, from one batch on, in the order in which they are met."""
        every, met = {(batch.depth, batch.width, batch.rows) for batch in self.parts}, {}
        for _, batch in self.mine(begin):
            met.setdefault((batch.depth, batch.width, batch.rows))
            if len(met) == len(every):  # a run of 10⁹ cases need not be looked through
                break
        return list(met)

    def tasks(self, all_tasks: Sequence[Task]) -> list[tuple[int, Task]]:
        """Return the tasks of this share, each with its place in the whole: they come behind the batches."""
        k, m = self.shard
        placed = enumerate(all_tasks, start=len(self.batches))
        return [(place, task) for place, task in placed if place % m == k - 1]


def _campaign(
    asked: _Asked,
    watch: Watch,
    tell: Progress,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    state: tuple[int, int, RunTotals] | None = None,
) -> Report:
    _require_numbers(cases=asked.most_cases, seed=asked.seed, depths=asked.depths, widths=asked.widths)
    if not 0.0 <= asked.sharp_floor <= 1.0:
        raise UsageError(f"`sharp_floor` must be a share from 0 to 1, got {asked.sharp_floor}")
    if asked.duration is not None and not asked.duration > 0:
        raise UsageError(f"`duration` must be above 0 seconds, got {asked.duration}")
    chosen = engines_named(asked.engines, lambda path: watch.step(Step(path, "import")))
    if not chosen and not asked.functions:
        raise UsageError("no engine to run: name one with `engines`, or add your own")
    asked, work = _planned(asked) if chosen else (asked, _Work([], [], [], part_of(asked.shard)))
    platforms = platforms_of(asked.platform, asked.judged_as)
    run = Run(entrants(chosen, platforms), asked.seed, matmul_setting(), watch, oracle=_oracle(asked.truth))
    watch.started()
    run.case = None if asked.case is None else CaseId.parse(asked.case)
    facts = _facts(run, platforms, asked, work, clock())
    before = Resumed() if asked.resume is None else resumed(asked.resume, facts)
    run.done, run.tasks_done, run.counts = before.state if state is None else state
    start, stopped = time.perf_counter(), ""

    def report(stopped: str) -> Report:
        elapsed = before.elapsed_s + time.perf_counter() - start
        so_far = {"complete": not stopped, "elapsed_s": round(elapsed, 3), "compilation": compiled_before()}
        so_far |= {"stopped": stopped} if stopped else {}
        return report_of(run.counts, facts | so_far, at=(run.done, run.tasks_done))

    watch.report = partial(report, "still running")
    try:
        with jax.default_device(platforms[0].device):
            _go(run, platforms, asked, work, tell, start)
    except KeyboardInterrupt:
        stopped = f"interrupted after {sum(t.cases for t in run.counts.tallies.values()):,} answers"
    return report(stopped)


def _oracle(truth: str) -> DeviceOracle | None:
    if truth == NUMPY:
        return None
    try:
        return DeviceOracle(f"oracle@{truth}", device_of(truth))
    except UsageError as error:
        raise UsageError(f"the truth is worked out by {NUMPY!r} or a device: {error}") from None


def _go(run: Run, platforms: Sequence[Platform], asked: _Asked, work: _Work, tell: Progress, start: float) -> None:
    """Run what is left to do, and tell how far it is."""
    done = sum(batch.judged for _, batch in itertools.islice(work.mine(), run.done))
    cases = work.cases

    def told(more: int, what: str) -> None:
        nonlocal done
        done += more
        tell(done, cases, what)

    run.go(
        work.mine(run.done),
        work.shapes(run.done),
        work.tasks(_tasks(run, platforms, work.samples, asked))[run.tasks_done :],
        told,
        lambda: asked.duration is not None and time.perf_counter() - start > asked.duration,
    )
    told(0, "done")


def _planned(asked: _Asked) -> tuple[_Asked, _Work]:
    """Return what is asked for, and what is to be run for it."""
    shard = part_of(asked.shard)
    if asked.case is not None:
        one = CaseId.parse(asked.case)
        rebuild(one)
        batch = Batch(one.ensemble, one.depth, one.width, one.batch, max(one.rows or 1, one.row + 1), 1)
        alone = [(batch._replace(rows=1), execution) for execution in ("single", "eager")]
        asked = replace(asked, cases=1, seed=one.seed, ensembles=[one.ensemble], activations=False)
        samples = alone if one.depth <= MOST_LAYERS_ONE_BY_ONE else []
        return asked, _Work([ensemble(one.ensemble)], [batch], samples, shard)
    wanted = asked.ensembles
    names = list(ENSEMBLES) if wanted == "all" else [wanted] if isinstance(wanted, str) else list(wanted)
    families = [ensemble(name) for name in dict.fromkeys(names)]
    batches = plan(families, cases=asked.most_cases, seed=asked.seed, depths=asked.depths, widths=asked.widths)
    alone = []
    for family, execution in _sampled(families, asked.seed) if asked.samples else ():
        shape = sample_shape(family, asked.seed, asked.depths, asked.widths)
        if shape is not None:
            alone.append((Batch(family.name, *shape, 0, 1, 1), execution))
    return asked, _Work(families, batches, alone, shard)


def _tasks(run: Run, platforms: Sequence[Platform], samples: Sequence[tuple[Batch, str]], asked: _Asked) -> list[Task]:
    """Return what is run one by one: cases, activations alone, functions alone, the last two on every platform.

    The first two where engines of ours are among the chosen.
    """
    tasks: list[Task] = []
    ours = any(isinstance(entrant.engine, Engine) for entrant in run.entrants.values())
    if ours:
        tasks += [partial(run.verify_sample, batch, execution) for batch, execution in samples]
    for platform in platforms:
        where = platform.arithmetic, platform.device
        named = partial(at, platform=platform, platforms=platforms)
        if asked.activations and ours:
            tasks += [partial(run.sweep_activation, item, named) for item in measurements(*where)]
        if asked.functions:
            tasks += [partial(run.sweep_function, item, named) for item in sweeps(*where)]
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


def _left_out(work: _Work, depths: Sequence[int] | None) -> str:
    """Say which of the families and depths that were asked for no batch takes."""
    seen = {batch.ensemble for batch in work.parts}
    without = [family.name for family in work.families if family.name not in seen]
    parts = [f"too few cases for the ensembles {', '.join(without)}"] if without else []
    missing = sorted(set(depths or ()) - {batch.depth for batch in work.parts})
    if missing:
        some = ", ".join(map(str, missing[:12])) + (", …" if len(missing) > 12 else "")
        parts.append(f"of the depths asked for, {some} were only met as shorter chains padded to another one")
    return "; ".join(parts)


def _facts(run: Run, platforms: Sequence[Platform], asked: _Asked, work: _Work, begun: datetime) -> dict[str, Any]:
    """Return what a report says of the run, and of what ran it."""
    facts = environment(begun)
    where = together([platform.identity() for platform in platforms])
    identity = {  # the columns of report.IDENTITY
        "schema": SCHEMA,
        "jax": facts["packages"].get("jax", ""),
        "jaxlib": facts["packages"].get("jaxlib", ""),
        "platform": where["platform"],
        "device_kind": where["device_kind"],
        "dtype": "float32",
        "matmul_precision": where["matmul_precision"],
    }
    facts |= identity | {
        "seed": run.seed,
        "cases": asked.most_cases,
        "asked": {name: _plain(getattr(asked, name)) for name in _ASKED},
        "engines": list(run.entrants),
        "ensembles": {family.name: family.version for family in work.families},
        "sharp_floor": asked.sharp_floor,
        "sharp_bound": max(platform.arithmetic.sharp_bound for platform in platforms),
        "matmul_setting": run.setting or "default",
        "devices": {platform.name: len(platform.devices) for platform in platforms},
        "truth": asked.truth,
    }
    if asked.judged_as is not None:
        facts["judged_as"] = asked.judged_as
    if len(platforms) > 1:
        facts["platforms"] = {
            platform.name: platform.identity() | {"sharp_bound": platform.arithmetic.sharp_bound}
            for platform in platforms
        }
    if asked.shard is not None:
        facts["shard"] = asked.shard
    if asked.duration is not None:
        facts["duration_s"] = asked.duration
    if left_out := _left_out(work, asked.depths):
        facts["left_out"] = left_out
    return facts
