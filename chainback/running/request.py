"""A request: all arguments of `verify`, in one place.

The function, the command line, the supervised worker, the processes on several hosts and the environments with other JAX
versions all take the same `Request`. Nothing here imports JAX: engines, platforms and devices are looked up where they are.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from chainback.errors import UsageError
from chainback.judging.tally import SHARP_FLOOR
from chainback.operations.arithmetic import ARITHMETICS
from chainback.problems.case_id import CaseId
from chainback.problems.ensembles import ENSEMBLES, Ensemble, ensemble
from chainback.reporting.shards import part_of

__all__ = ["MOST_CASES", "NUMPY", "Option", "Request", "option_name"]

#: A run of more cases than this is better split by seeds.
MOST_CASES = 1_000_000_000
#: Cases of a run that states neither a number nor a duration.
_CASES = 20_000
#: What computes reference gradients and bounds, unless a device does.
NUMPY = "numpy"
#: The largest depth and width of a chain.
_LARGEST = {"depths": 10_000_000, "widths": 4096}


@dataclass(frozen=True)
class Option:
    """How an argument is written on a command line.

    Attributes:
        help: What `--help` says.
        kind: How a value is written: "whole number", "numbers" (1,2,4 or 1-24), "names" (separated by commas), "duration"
            (90s, 30m, 8h, 2d), "number", "text", "path", "flag", or one of a tuple of choices.
        name: The option, where it is not named as the argument.
        metavar: What stands for the value in `--help`; default: the kind's own.
        default: The command line's default, where it is not the argument's.
        unit: The command line's unit, in that of the argument: 1e9 for gigabytes, where the argument is in bytes.
        least: The least whole number that is taken.
    """

    help: str
    kind: str | tuple[str, ...] = "text"
    name: str = ""
    metavar: str | None = None
    default: Any = None
    unit: float | None = None
    least: int | None = None

    def text(self, value: Any) -> str:
        """Return a value as it is written on the command line."""
        if self.kind == "duration":
            return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
        if self.unit is not None:
            return repr(value / self.unit)
        return os.fspath(value) if self.kind == "path" else _listed(value)


def _option(*arguments: Any, **named: Any) -> dict[str, Option]:
    """Return the metadata of a field that has an option on the command line."""
    return {"option": Option(*arguments, **named)}


@dataclass(frozen=True)
class Request:
    """What `verify` runs, where the report goes, and how it is run.

    Attributes:
        cases: How many chains each engine is given; default 20,000, or with `duration` as many as it allows.
        duration: Seconds after which no further batch starts. What was run until then is a whole run.
        seed: Decides which chains.
        depths: Depths to use instead of each ensemble's own. More than eight are sampled.
        widths: Widths to use instead of each ensemble's own.
        ensembles: "all", or names of `ENSEMBLES`.
        engines: "all", "none", or names of `ENGINES` ("all" stands for all of them), paths `package.module:name`, and
            callables that follow the protocol of `Engine`. A worker, a host or another environment takes no callables.
        platform: "cpu", "gpu", …; default: JAX's own choice. Batches are split over all of its devices that this process
            has; "gpu:1" is one of them. Of several, as "cpu,gpu" or "gpu:0,gpu:1", every engine runs on each, on the same
            cases, judged under the arithmetic there, and is called `reverse-scan@gpu`; the engines on one are compared with
            those on another, too. An engine of the user's own is called while the platform's first device is JAX's default.
        truth: What computes the reference gradients and bounds of batches: "numpy", or a device, as "gpu" or "gpu:1". A
            device's are judged against NumPy's, in rows of `steps`: on the first batch of each row, on one in sixteen of the
            rest, and on each with a case that it leaves undecided or a result that it rejects. See `device_truth`.
        judged_as: The arithmetic whose bounds every result is to keep: "float32", "tf32" or "bfloat16". Default: that which
            JAX's matmul precision means on its device. With "float32" a GPU that multiplies in TF32 is rejected.
        activations: Whether to sweep every activation alone, too.
        samples: Whether to run a few cases one by one as well, jitted and un-jitted.
        functions: Whether to sweep every elementary function, too; without an engine, these alone.
        sharp_floor: An engine of which a smaller share of the components is judged sharply (`Arithmetic.sharp_bound`: in
            float32, bound <= 10⁻³ of the reference) is undecided, not accepted.
        case: The id of the one case to run, in its batch and alone, instead of those that the arguments above decide.
        shard: "K/M": run the K-th of M disjoint parts of the same cases; `merge` joins their reports.
        output: Folder to write the report to; found to be writable before the run starts. What was counted is written there
            every minute, too.
        junit: File to write a JUnit report to, likewise.
        resume: Go on with the run that `output` holds unfinished: with the same arguments it ends as it would have without
            the break. Where the folder holds nothing, the run begins; of a finished one with a `duration` there is more.
        supervised: Whether to run in a worker process that may die without ending the run. The worker's JAX reads the
            environment variables of this process; what `jax.config` or a context manager set here does not reach it. A step
            that a worker did not survive counts as rejected, with what became of it.
        time_limit: Seconds that one compilation, or one batch of one engine, may take in a worker.
        memory_limit: Bytes that a worker may hold; default: four fifths of the machine's.
        distributed: Whether to share the cases out among the processes that `jax.distributed` finds, one a host. Each calls
            `verify` with the same arguments, runs its share on all of its own devices in a supervised worker, and returns
            the report of all cases; process 0 writes it. Every process keeps its share in a folder of `output`,
            `shard-1-of-2`, which need not be the same on all hosts.
        coordinator: HOST:PORT at which process 0 of them is reached; default: as `jax.distributed.initialize` finds out
            under Slurm, Open MPI, Kubernetes and others. It, and each of the next two, means `distributed`.
        processes: How many processes there are; default likewise.
        process: Which of them this is, from 0; default likewise.
        patience: Seconds that all processes have to join.
    """

    cases: int | None = field(
        default=None,
        metadata=_option("Chains in all; 1e6 is understood.  [default: 20000; with --for no limit]", "whole number"),
    )
    duration: float | None = field(
        default=None,
        metadata=_option("Begin no further batch after that time: 90s, 30m, 8h, 2d.", "duration", name="--for"),
    )
    seed: int = field(default=0, metadata=_option("Decides which chains.", "whole number"))
    depths: Sequence[int] | None = field(
        default=None,
        metadata=_option("Depths, as 1,8 or 1-24; at most eight of them run.  [default: by ensemble]", "numbers"),
    )
    widths: Sequence[int] | None = field(
        default=None,
        metadata=_option("Widths, likewise, but all of them run.  [default: by ensemble]", "numbers"),
    )
    ensembles: str | Iterable[str] = field(
        default="all", metadata=_option("Families of chains: names or all.", "names")
    )
    engines: str | Iterable[str | Callable[..., Any]] = field(
        default="all", metadata=_option("Built-in engines: names, all or none.", "names")
    )
    platform: str | None = field(
        default=None,
        metadata=_option(
            "Where to run: cpu, gpu, gpu:1, …; several, as cpu,gpu, are compared.  [default: JAX's own choice]"
        ),
    )
    truth: str = field(
        default=NUMPY,
        metadata=_option(
            "What works out the truth of batches: numpy, or a device, as gpu, checked by NumPy on one in sixteen."
        ),
    )
    judged_as: str | None = field(
        default=None,
        metadata=_option(
            "Whose bounds answers are to keep, such as float32 on a GPU that multiplies in TF32.  "
            "[default: the device's]",
            tuple(ARITHMETICS),
        ),
    )
    activations: bool = True
    samples: bool = True
    functions: bool = field(
        default=False,
        metadata=_option("Sweep every elementary function, too; with --engines none, these alone.", "flag"),
    )
    sharp_floor: float = field(
        default=SHARP_FLOOR,
        metadata=_option(
            "Share of an engine's components to be judged sharply, or it is undecided.  [default: a tenth]", "number"
        ),
    )
    case: str | None = field(
        default=None,
        metadata=_option("Run this one case, in its batch and alone, instead of many.", metavar="CASE_ID"),
    )
    shard: str | None = field(
        default=None,
        metadata=_option("Run the K-th of M parts of the same cases; `merge` joins their reports.", metavar="K/M"),
    )
    output: str | os.PathLike[str] | None = field(
        default=None, metadata=_option("Folder for the CSV files.", "path", default="chainback-report")
    )
    junit: str | os.PathLike[str] | None = field(default=None, metadata=_option("Write a JUnit file, too.", "path"))
    resume: bool = field(default=False, metadata=_option("Go on with the unfinished run in the output folder.", "flag"))
    supervised: bool = False
    time_limit: float = field(
        default=300.0,
        metadata=_option("That one compilation, or one batch of one engine, may take.", "number", metavar="SECONDS"),
    )
    memory_limit: float | None = field(
        default=None,
        metadata=_option(
            "That the run may hold.  [default: four fifths of the machine's]", "number", metavar="GB", unit=1e9
        ),
    )
    distributed: bool = field(
        default=False,
        metadata=_option("Share the run out among the processes that jax.distributed finds, one a host.", "flag"),
    )
    coordinator: str | None = field(
        default=None,
        metadata=_option("Of process 0, where JAX does not find out; with the next two.", metavar="HOST:PORT"),
    )
    processes: int | None = field(
        default=None, metadata=_option("How many share the run.", "whole number", metavar="N", least=1)
    )
    process: int | None = field(
        default=None,
        metadata=_option("Which of them this is, from 0.", "whole number", metavar="K", least=0),
    )
    patience: float = 300.0

    def __post_init__(self) -> None:
        """Make tuples of what is a sequence, and refuse what cannot be used.

        Raises:
            UsageError: An argument cannot be used; what only JAX can tell, it tells later.
        """
        for name in ("depths", "widths"):
            if (value := getattr(self, name)) is not None:
                self._set(name, _whole_numbers(name, value))
        for name in ("engines", "ensembles"):
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str):
                self._set(name, tuple(value))
        self._require_cases()
        self._require_shares_and_times()
        if self.supervised or self.on_hosts:
            self._require_names("a worker takes no callable")
        if self.resume and self.output is None:
            raise UsageError("`resume` needs `output`: the folder of the run to go on with")
        if self.shard is not None and self.on_hosts:
            raise UsageError("`shard` cannot be chosen where each process takes its own: leave it out")
        part_of(self.shard)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _require_cases(self) -> None:
        cases, seed = _whole_number("cases", self.most_cases), _whole_number("seed", self.seed)
        if cases > MOST_CASES:
            raise UsageError(f"`cases` must be at most {MOST_CASES:,}, got {cases:,}: split the run by seeds")
        if cases < 1:
            raise UsageError(f"`cases` must be at least 1, got {cases}")
        if seed < 0:
            raise UsageError(f"`seed` must be at least 0, got {seed}")
        for name, most in _LARGEST.items():
            values = getattr(self, name)
            if values is not None and (not values or min(values) < 1 or max(values) > most):
                raise UsageError(f"`{name}` must be numbers from 1 to {most}, got {list(values)}")
        if self.case is not None:
            CaseId.parse(self.case)
        if not self.families:
            raise UsageError("`ensembles` must name at least one")

    def _require_shares_and_times(self) -> None:
        if not 0.0 <= self.sharp_floor <= 1.0:
            raise UsageError(f"`sharp_floor` must be a share from 0 to 1, got {self.sharp_floor}")
        if self.duration is not None and not self.duration > 0:
            raise UsageError(f"`duration` must be above 0 seconds, got {self.duration}")
        limits = {"time_limit": self.time_limit, "memory_limit": self.memory_limit}
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise UsageError(f"`{name}` must be above 0, got {limit}")
            default = next(f.default for f in fields(self) if f.name == name)
            if limit != default and not (self.supervised or self.on_hosts):
                raise UsageError(f"`{name}` needs `supervised`: in its own process nothing can end a step")

    @property
    def most_cases(self) -> int:
        """How many cases there are to run, at most."""
        if self.cases is not None:
            return self.cases
        return _CASES if self.duration is None else MOST_CASES

    @property
    def families(self) -> list[Ensemble]:
        """The ensembles, each once."""
        wanted = [self.ensembles] if isinstance(self.ensembles, str) else self.ensembles
        names = list(ENSEMBLES) if self.ensembles == "all" else wanted
        return [ensemble(name) for name in dict.fromkeys(names)]

    @property
    def on_hosts(self) -> bool:
        """Whether several processes share the run, one a host."""
        return self.distributed or any(value is not None for value in (self.coordinator, self.processes, self.process))

    @property
    def resolved(self) -> Request:
        """The request with what its `case` decides; itself where it names none."""
        if self.case is None:
            return self
        case = CaseId.parse(self.case)
        return replace(self, cases=1, seed=case.seed, ensembles=(case.ensemble,), activations=False)

    def command(self) -> list[str]:
        """Return the arguments of `chainback` that run this request: `verify`, and an option for each that is no default.

        The command line always runs a supervised worker, and writes to `chainback-report` where `output` is None.

        Raises:
            UsageError: An argument has no option, or an engine is a callable.
        """
        found = ["verify"]
        for argument in fields(self):
            value, option = getattr(self, argument.name), argument.metadata.get("option")
            if value == argument.default or argument.name == "supervised":
                continue
            if option is None:
                raise UsageError(f"`{argument.name}` has no option on the command line: leave it as it is")
            if argument.name == "engines":
                found += self._engine_options()
            else:
                name = option_name(argument.name, option)
                found += [name] if option.kind == "flag" else [name, option.text(value)]
        return found

    def _require_names(self, why: str) -> list[str]:
        """Return the engines by name.

        Raises:
            UsageError: One is a callable.
        """
        named = self.engines if isinstance(self.engines, tuple) else (self.engines,)
        if unnamed := [engine for engine in named if not isinstance(engine, str)]:
            raise UsageError(f"{why}, got {unnamed[0]!r:.60}: name it as package.module:name")
        return [str(engine) for engine in named]

    def _engine_options(self) -> list[str]:
        named = self._require_names("a command line takes no callable")
        built_in = [name for name in named if ":" not in name]
        found = [] if built_in == ["all"] else ["--engines", ",".join(built_in) or "none"]
        return found + [part for name in named if ":" in name for part in ("--engine", name)]


def option_name(argument: str, option: Option) -> str:
    """Return the option's name on the command line."""
    return option.name or f"--{argument.replace('_', '-')}"


def _listed(value: Any) -> str:
    listed = isinstance(value, Iterable) and not isinstance(value, str)
    return ",".join(map(str, value)) if listed else str(value)


def _whole_number(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"`{name}` must be a whole number, got {value!r:.60}") from None


def _whole_numbers(name: str, values: Any) -> tuple[int, ...]:
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise UsageError(f"`{name}` must be whole numbers, got {values!r:.60}") from None
