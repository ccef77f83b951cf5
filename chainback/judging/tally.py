"""Judgements counted into rows: streamed, mergeable, in memory that does not grow with the number of cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np

from chainback.judging.judgement import Component, Verdict, component_at
from chainback.judging.measurement import Agreement, Measured
from chainback.judging.statistics import Histogram, Mean, Sum
from chainback.problems.case_id import CaseId
from chainback.truth.envelope import Envelope

__all__ = ["SHARP_FLOOR", "Pair", "Rejection", "RowKey", "StepTally", "Tally"]

#: A run that judged a smaller share of an engine's components sharply is vacuous: it is undecided.
SHARP_FLOOR = 0.1


class RowKey(NamedTuple):
    """What a row of `tolerance.csv` is about."""

    engine: str
    execution: str
    ensemble: str
    depth: int
    width: int


@dataclass(frozen=True)
class Rejection:
    """A rejected result: on which case of which batch, and what was wrong with it.

    Attributes:
        engine: Whose result it is.
        execution: How the engine was run: "batched", "single" or "eager".
        ensemble: Of the case; depth and width likewise.
        depth: Layers.
        width: Units of a layer.
        batch: Number of the batch among those of its ensemble, depth and width.
        case_id: The first case of the batch that was rejected.
        step: What was judged, if not the gradient: "linearisation", "substitution", or "truth" as a device computed it.
        component: The first wrong one, such as `dW_1[0,0]`; empty where the result was rejected as a whole. Without it the
            next five are None and 0.
        got: Its value.
        expected: Its float64 reference.
        bound: The largest |got − expected| that would have been accepted.
        wrong: How many components of the case are wrong.
        components: How many components the case has.
        reason: What was wrong, in one sentence.
    """

    engine: str
    execution: str
    ensemble: str
    depth: int
    width: int
    batch: int
    case_id: str
    step: str = ""
    component: str = ""
    got: float | None = None
    expected: float | None = None
    bound: float | None = None
    wrong: int = 0
    components: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.got is not None and math.isnan(self.got):
            object.__setattr__(self, "got", math.nan)  # the one NaN that equals itself in a tuple

    @property
    def key(self) -> RowKey:
        """Which row of `tolerance.csv`, or with `step` of `steps.csv`, it belongs to."""
        return RowKey(self.engine, self.execution, self.ensemble, self.depth, self.width)

    @property
    def sentence(self) -> str:
        """The reason, with the step that failed."""
        return f"its {self.step} is wrong: {self.reason}" if self.step and self.component else self.reason

    def __str__(self) -> str:
        return f"{self.engine} ({self.execution}) on {self.case_id}: {self.sentence}"


@dataclass
class Tally:
    """The running count behind one row of `tolerance.csv`.

    Attributes:
        key: Which row.
        cases: How many cases were judged; each is accepted, rejected or undecided.
        components: How many components they have.
        accepted: Cases.
        rejected: Cases.
        undecided: Cases.
        counted: Components of decided cases; of these
        sharp: are judged sharply,
        measured: have a normal number as their reference,
        sharp_normal: are both.
        margins: Errors / bounds.
        errors: Errors in u where the reference is normal.
        bounds: Bounds in u, likewise.
        margin_max: The largest margin; −1 where nothing is counted.
        error_max: The largest error in u.
        error_squares: The sum of the squared errors in u over what is `sharp_normal`, as are the means below.
        mean_error: Over cases, of the mean signed error in u.
        mean_margin: Likewise, of the signed margin.
        square_error: Likewise, of the squared error.
        square_margin: Likewise, of the squared margin.
        worst_case: Id of the case with the largest margin.
        digest: The sum of keyed hashes of the results' bits, modulo 2⁶⁴.
        compile_s: Seconds.
        run_s: Seconds.
        declined: Why the engine declined to run.
    """

    key: RowKey
    cases: int = 0
    components: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0
    counted: int = 0
    sharp: int = 0
    measured: int = 0
    margins: Histogram = field(default_factory=Histogram)
    errors: Histogram = field(default_factory=Histogram)
    bounds: Histogram = field(default_factory=Histogram)
    margin_max: float = -1.0
    error_max: float = 0.0
    sharp_normal: int = 0
    error_squares: Sum = field(default_factory=Sum)
    mean_error: Mean = field(default_factory=Mean)
    mean_margin: Mean = field(default_factory=Mean)
    square_error: Mean = field(default_factory=Mean)
    square_margin: Mean = field(default_factory=Mean)
    worst_case: str = ""
    digest: int = 0
    compile_s: float = 0.0
    run_s: float = 0.0
    declined: str = ""

    def add(self, measured: Measured, explain: Callable[[int], str] = lambda row: "") -> Rejection | None:
        """Count a result on a batch; return its first rejection, if any.

        Args:
            measured: The result.
            explain: Returns, for a rejected case by its place in the batch, which step failed.
        """
        judgement, ids, rejected = measured.judgement, measured.ids, measured.rejected
        self.cases += rejected.size
        self.rejected += int(np.count_nonzero(rejected))
        self.accepted += measured.accepted
        if judgement.malformed:
            return self._reject(ids[0], judgement.malformed)
        self.undecided += measured.units.undecided
        self.components += rejected.size * judgement.got.shape[1]
        self.digest = (self.digest + measured.digest) % 2**64
        if measured.size:
            self._measure(measured)
        if not rejected.any():
            return None
        row = int(np.argmax(rejected))
        wrong = ~judgement.accepted_components[row]
        component = component_at(judgement.envelope, judgement.got, row, int(np.argmax(wrong)))
        return self._reject(ids[row], explain(row), component, int(wrong.sum()), wrong.size)

    def fail(self, cases: int, case_id: str, reason: str) -> Rejection:
        """Count cases on which the engine returned no result."""
        self.cases += cases
        self.rejected += cases
        return self._reject(case_id, reason)

    def unsteady(self, case_id: str, reason: str) -> Rejection:
        """Reject a batch, counted already, whose repetition gave other bits: one of its cases is taken for wrong."""
        if self.accepted:
            self.accepted, self.rejected = self.accepted - 1, self.rejected + 1
        elif self.undecided:
            self.undecided, self.rejected = self.undecided - 1, self.rejected + 1
        return self._reject(case_id, reason)

    def _reject(
        self, case_id: str, reason: str, component: Component | None = None, wrong: int = 0, components: int = 0
    ) -> Rejection:
        batch = CaseId.parse(case_id).batch
        if component is None:
            return Rejection(*self.key, batch, case_id, self._step(), reason=reason)
        of_all = f"{component}; {wrong} of {components} components are wrong"
        return Rejection(
            *self.key,
            batch,
            case_id,
            self._step(),
            component=component.name,
            got=component.got,
            expected=component.expected,
            bound=component.bound,
            wrong=wrong,
            components=components,
            reason="; ".join(filter(None, (of_all, reason))),
        )

    def _step(self) -> str:
        """Return what its rejections are of, if not the gradient."""
        return ""

    def _measure(self, measured: Measured) -> None:
        units = measured.units
        self.sharp_normal += units.sharp_normal
        self.error_squares.add(measured.error_squares)
        for name in ("mean_error", "square_error", "mean_margin", "square_margin", "margins", "errors"):
            getattr(self, name).merge(getattr(measured, name))
        self.bounds.merge(units.bounds)
        self.counted += measured.size
        self.measured += measured.size - units.abnormal
        self.sharp += units.sharp
        self.error_max = max(self.error_max, measured.error_max)
        if measured.margin_max >= self.margin_max:
            self._worst(measured.margin_max, measured.worst_case())

    def _worst(self, margin: float, case_id: str) -> None:
        """Keep the worst case; of equals the first by name, so that the order of batches does not matter."""
        if margin > self.margin_max or case_id < self.worst_case:
            self.worst_case = case_id
        self.margin_max = margin

    def merge(self, other: Self) -> None:
        """Count what another one counted, of other cases of the same row."""
        for name in _ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in self._merged():
            getattr(self, name).merge(getattr(other, name))
        self.error_max = max(self.error_max, other.error_max)
        self.digest = (self.digest + other.digest) % 2**64
        if other.margin_max >= self.margin_max:
            self._worst(other.margin_max, other.worst_case)
        self.declined = self.declined or other.declined

    @classmethod
    def _merged(cls) -> list[str]:
        """Return the names of the fields that merge themselves."""
        return [f.name for f in fields(cls) if f.default_factory in (Histogram, Mean, Sum)]

    def to_json(self) -> dict[str, Any]:
        """Return all that was counted."""
        of_parts = {name: getattr(self, name).to_json() for name in self._merged()}
        return {f.name: getattr(self, f.name) for f in fields(self)} | of_parts

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Return what `to_json` wrote."""
        kinds: dict[str, Any] = {f.name: f.default_factory for f in fields(cls)}
        key: Any = RowKey(*state["key"])
        return cls(**state | {name: kinds[name].from_json(state[name]) for name in cls._merged()} | {"key": key})

    @property
    def verdict(self) -> Verdict:
        """Rejected if one case was; accepted if one was and at least one component was judged sharply, else vacuous."""
        if self.rejected:
            return Verdict.REJECTED
        if self.cases == 0:
            return Verdict.NOT_RUN
        return Verdict.ACCEPTED if self.accepted and self.sharp else Verdict.UNDECIDED

    def row(self, rejection: Rejection | None = None) -> dict[str, Any]:
        """Return the row, in the columns of `tolerance.csv`; its note is why the engine declined, or a rejection.

        Of the errors in u, mean and root mean square are over the components that are judged sharply, maximum and
        quantiles over all whose truth is a normal number. Means are signed (positive away from zero), taken case by case,
        and come with their standard errors: a bias far below every bound shows in them.
        """
        return {
            **self.key._asdict(),
            "cases": self.cases,
            "components": self.components,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "undecided": self.undecided,
            "verdict": str(self.verdict),
            "sharp": self.sharp / self.counted if self.counted else float("nan"),
            "margin_max": self.margin_max if self.counted else float("nan"),
            "margin_p99": min(self.margins.quantile(0.99), self.margin_max),
            "margin_p50": min(self.margins.quantile(0.5), self.margin_max),
            "error_u_max": self.error_max if self.measured else float("nan"),
            "error_u_p99": min(self.errors.quantile(0.99), self.error_max),
            "error_u_p50": min(self.errors.quantile(0.5), self.error_max),
            "margin_mean": self.mean_margin.mean,
            "margin_mean_se": self.mean_margin.standard_error,
            "error_u_mean": self.mean_error.mean,
            "error_u_mean_se": self.mean_error.standard_error,
            "margin_rms": self.square_margin.root[0],
            "margin_rms_se": self.square_margin.root[1],
            "error_u_rms": (float(self.error_squares) / self.sharp_normal) ** 0.5
            if self.sharp_normal
            else float("nan"),
            "error_u_rms_se": self.square_error.root[1],
            "bound_u_p50": self.bounds.quantile(0.5),
            "bound_u_p99": self.bounds.quantile(0.99),
            "worst_case": self.worst_case,
            "digest": f"{self.digest:016x}",
            "compile_s": round(self.compile_s, 6),
            "run_s": round(self.run_s, 6),
            "note": self.declined if rejection is None else f"{rejection.case_id}: {rejection.reason}",
        }


#: What a tally adds up.
_ADDED = (
    *("cases", "components", "accepted", "rejected", "undecided", "counted", "sharp", "measured", "sharp_normal"),
    *("compile_s", "run_s"),
)


@dataclass
class StepTally(Tally):
    """The running count behind one row of `steps.csv`: one step of the triangular method, or of the judge's, by itself.

    Attributes:
        judged: Which: "linearisation" or "substitution"; or "truth", where a device computed that.
        ratios: How many times sharper the step's bound is than the gradient's, for each component of a substitution.
    """

    judged: str = ""
    ratios: Histogram = field(default_factory=Histogram)

    def compare(self, step: Envelope, gradient: Envelope, rows: int) -> None:
        """Count how much sharper the step is judged than the gradient, over the first rows of a batch."""
        decided = step.decided[:rows] & gradient.decided[:rows]
        self.ratios.add(gradient.bound[:rows][decided] / step.bound[:rows][decided])

    def _step(self) -> str:
        return self.judged

    def row(self, rejection: Rejection | None = None) -> dict[str, Any]:
        """Return the row, in the columns of `steps.csv`."""
        return {"judged": self.judged, **super().row(rejection), "sharper_p50": self.ratios.quantile(0.5)}


@dataclass
class Pair:
    """The running count behind one row of `agreement.csv`: two engines on the same cases.

    Two right results lie within the sum of their bounds of each other.
    """

    engine_a: str
    engine_b: str
    ensemble: str
    depth: int
    width: int
    components: int = 0
    identical: int = 0
    disagreeing: int = 0
    sharp: int = 0
    margin_max: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What the row is about."""
        return self.engine_a, self.engine_b, self.ensemble, self.depth, self.width

    def add(self, agreement: Agreement) -> None:
        """Count the comparison of two results."""
        self.components += agreement.components
        self.identical += agreement.identical
        self.disagreeing += agreement.disagreeing
        self.sharp += agreement.sharp
        self.margin_max = max(self.margin_max, agreement.margin_max)

    def merge(self, other: Pair) -> None:
        """Count what another one counted, of other cases of the same row."""
        for name in ("components", "identical", "disagreeing", "sharp"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.margin_max = max(self.margin_max, other.margin_max)

    def to_json(self) -> dict[str, Any]:
        """Return all that was counted."""
        return dict(vars(self))

    def row(self) -> dict[str, Any]:
        """Return the row, in the columns of `agreement.csv`."""
        verdict = Verdict.REJECTED if self.disagreeing else Verdict.ACCEPTED
        return {
            "engine_a": self.engine_a,
            "engine_b": self.engine_b,
            "ensemble": self.ensemble,
            "depth": self.depth,
            "width": self.width,
            "components": self.components,
            "identical": self.identical / self.components if self.components else float("nan"),
            "disagreeing": self.disagreeing,
            "sharp": self.sharp / self.components if self.components else float("nan"),
            "margin_max": self.margin_max,
            "verdict": str(verdict if self.components else Verdict.UNDECIDED),
        }
