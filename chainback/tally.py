"""Judgements counted into rows: streamed, mergeable, in memory that does not grow with the number of cases."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np

from chainback.bounds import Envelope
from chainback.judgement import Judgement, Verdict, component_at

__all__ = ["SHARP_FLOOR", "Histogram", "Mean", "Pair", "Rejection", "RowKey", "StepTally", "Sum", "Tally", "Yardstick"]

Array = np.ndarray
#: A run that judged a smaller share of an engine's components sharply has no teeth: it is undecided.
SHARP_FLOOR = 0.1


class Histogram:
    """Counts of nonnegative numbers in 32 bins an octave, so that quantiles stream and merge.

    A number falls into the bin of the leading 14 bits of its float32 form; a quantile is the upper edge of its bin, at most
    1/32 above the true one.
    """

    _SHIFT = 18
    _BINS = 1 << (31 - _SHIFT)

    def __init__(self) -> None:
        self.counts = np.zeros(self._BINS, np.int64)

    def __getstate__(self) -> tuple[Array, Array]:
        places = np.flatnonzero(self.counts)
        return places, self.counts[places]

    def __setstate__(self, state: tuple[Array, Array]) -> None:
        self.__init__()
        places, counts = state
        self.counts[places] = counts

    def add(self, values: Array, ignored_zeros: int = 0) -> None:
        """Count the values, except for so many of the zeros among them."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(np.float32)
        bits = (values.view(np.int32).ravel() & 0x7FFFFFFF) >> self._SHIFT  # 0 × ∞ is a NaN whose sign is set
        self.counts += np.bincount(bits, minlength=self._BINS)
        self.counts[0] -= ignored_zeros

    def merge(self, other: Histogram) -> None:
        """Count what another one counted."""
        self.counts += other.counts

    def to_json(self) -> list[list[int]]:
        """Return the bins that are not empty, and their counts."""
        return [part.tolist() for part in self.__getstate__()]

    @classmethod
    def from_json(cls, state: list[list[int]]) -> Self:
        """Return what `to_json` wrote."""
        histogram = cls()
        places, counts = state
        histogram.counts[np.array(places, np.intp)] = counts
        return histogram

    def quantile(self, share: float) -> float:
        """Return a value that at least this share of the counted numbers does not exceed; NaN if there are none."""
        total = int(self.counts.sum())
        if total == 0:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.counts), max(1.0, np.ceil(share * total))))
        if place == 0:
            return 0.0
        if place >= 0x7F800000 >> self._SHIFT:
            return float("inf")
        return float(np.array([(place + 1) << self._SHIFT], np.int32).view(np.float32)[0])


class Sum:
    """An exact sum of floats, so that neither the order of batches nor their distribution over machines matters.

    Source: Shewchuk (1997), *Adaptive Precision Floating-Point Arithmetic*, section 2: an expansion of floats that do not
    overlap is grown by one.
    """

    def __init__(self, parts: list[float] | None = None) -> None:
        self._parts = list(parts or ())

    def add(self, number: float) -> None:
        """Add a number."""
        parts = []
        for part in self._parts if math.isfinite(number) else ():
            large, small = (number, part) if abs(number) >= abs(part) else (part, number)
            number = large + small
            if rest := small - (number - large):
                parts.append(rest)
        finite = all(map(math.isfinite, self._parts))  # an infinity or a NaN stays, alone
        self._parts = [*parts, number] if finite else [*self._parts, number]

    def merge(self, other: Sum) -> None:
        """Add what another one has added up."""
        for part in other._parts:
            self.add(part)

    def to_json(self) -> list[float]:
        """Return the floats whose sum it is."""
        return list(self._parts)

    @classmethod
    def from_json(cls, state: list[float]) -> Self:
        """Return what `to_json` wrote."""
        return cls(state)

    def __float__(self) -> float:
        return math.fsum(self._parts) if all(map(math.isfinite, self._parts)) else sum(self._parts)


@dataclass
class Mean:
    """A mean over cases and its standard error, streamed: cases are independent, the components of one case are not."""

    count: int = 0
    total: Sum = field(default_factory=Sum)
    squares: Sum = field(default_factory=Sum)

    def add(self, sums: Array, counts: Array) -> None:
        """Count the mean of each case.

        Args:
            sums: (cases,), over the components that count.
            counts: (cases,), how many do.
        """
        of_case = (sums / counts)[counts > 0]
        self.count += of_case.size
        self.total.add(float(of_case.sum()))
        self.squares.add(float(_row_sums(of_case[None], of_case[None])[0]))

    def merge(self, other: Mean) -> None:
        """Count what another one counted."""
        self.count += other.count
        self.total.merge(other.total)
        self.squares.merge(other.squares)

    def to_json(self) -> list[Any]:
        """Return its count and its sums."""
        return [self.count, self.total.to_json(), self.squares.to_json()]

    @classmethod
    def from_json(cls, state: list[Any]) -> Self:
        """Return what `to_json` wrote."""
        count, total, squares = state
        return cls(count, Sum(total), Sum(squares))

    @property
    def mean(self) -> float:
        """The mean; NaN without a case."""
        return float(self.total) / self.count if self.count else float("nan")

    @property
    def standard_error(self) -> float:
        """The standard deviation of the mean; NaN below two cases."""
        if self.count < 2:
            return float("nan")
        variance = (float(self.squares) - float(self.total) ** 2 / self.count) / (self.count - 1)
        return float(np.sqrt(max(variance, 0.0) / self.count))

    @property
    def root(self) -> tuple[float, float]:
        """The square root of the mean, and its standard error to first order: of squares, their root mean square."""
        root = math.sqrt(self.mean) if self.mean > 0 else self.mean
        return root, self.standard_error / (2.0 * root) if root > 0 else self.standard_error


class Yardstick:
    """What the errors of a batch are measured in, made once and used for every engine.

    Attributes:
        decided: Rows that count; None if all do.
        per_u: 1 / (u |reference|) where the reference is a normal number, else 0.
        abnormal: How many counted components have no normal reference.
        informative: How many counted components are judged sharply: bound <= `Arithmetic.sharp_bound` · |reference|.
        informative_pairs: How many are, when two answers of that bound are compared.
        per_truth: 1 / (u reference), with its sign, where a component is judged sharply and its reference is normal, else 0.
        per_signed_bound: 1 / bound, with the sign of the reference, likewise.
        sharp: How many such components each counted case has.
        sharp_components: How many there are in all.
        some_exact: Whether some bound is 0.
        bounds: Histogram of bound / (u |reference|) where the reference is normal.
    """

    def __init__(self, envelope: Envelope, rows: int) -> None:
        """Measure the first `rows` cases of an envelope."""
        self.envelope = envelope
        self.rows = rows
        decided = envelope.decided[:rows]
        self.decided: Array | None = None if decided.all() else decided
        self.undecided = int(rows - decided.sum())
        size = np.abs(self.select(envelope.reference))
        normal = size >= envelope.arithmetic.smallest_normal
        with np.errstate(all="ignore"):
            self.per_u = np.where(normal, 1.0 / (envelope.arithmetic.unit_roundoff * size), 0.0)
            bound = self.select(envelope.bound)
            self.per_bound = 1.0 / bound
            sharp = envelope.arithmetic.sharp_bound * size
            informative = bound <= sharp
            sign = np.where(informative & normal, np.sign(self.select(envelope.reference)), 0.0)
            self.per_truth = sign * self.per_u
            self.per_signed_bound = np.where(bound > 0.0, sign * self.per_bound, 0.0)  # an exact step has no margin
            self.bounds = Histogram()
            self.bounds.add((bound * self.per_u)[normal])
        self.abnormal = int(normal.size - normal.sum())
        self.informative = int(informative.sum())
        self.informative_pairs = int((2.0 * bound <= sharp).sum())
        self.sharp = (informative & normal).sum(axis=1)
        self.sharp_components = int(self.sharp.sum())
        self.some_exact = bool((bound == 0.0).any())

    def select(self, components: Array) -> Array:
        """Return the components of the counted cases."""
        components = components[: self.rows]
        return components if self.decided is None else components[self.decided]


class RowKey(NamedTuple):
    """What a row of `tolerance.csv` is about."""

    engine: str
    execution: str
    ensemble: str
    depth: int
    width: int


@dataclass(frozen=True)
class Rejection:
    """One answer that was rejected.

    Attributes:
        engine: Who gave it.
        execution: How it was run.
        case_id: On which case.
        reason: What was wrong, in one sentence.
    """

    engine: str
    execution: str
    case_id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} ({self.execution}) on {self.case_id}: {self.reason}"


@dataclass
class Tally:
    """The running count behind one row of `tolerance.csv`."""

    key: RowKey
    cases: int = 0
    components: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0
    counted: int = 0
    informative: int = 0
    measured: int = 0
    margins: Histogram = field(default_factory=Histogram)
    errors: Histogram = field(default_factory=Histogram)
    bounds: Histogram = field(default_factory=Histogram)
    margin_max: float = -1.0
    error_max: float = 0.0
    sharp: int = 0
    error_squares: Sum = field(default_factory=Sum)
    mean_error: Mean = field(default_factory=Mean)
    mean_margin: Mean = field(default_factory=Mean)
    square_error: Mean = field(default_factory=Mean)
    square_margin: Mean = field(default_factory=Mean)
    worst_case: str = ""
    digest: int = 0
    compile_s: float = 0.0
    run_s: float = 0.0
    note: str = ""

    def add(
        self, judgement: Judgement, ids: Any, yardstick: Yardstick, explain: Callable[[int], str] = lambda row: ""
    ) -> Rejection | None:
        """Count a judgement of the first `yardstick.rows` cases of a batch; return its first rejection, if any.

        Args:
            judgement: Of the whole batch.
            ids: Of its cases.
            yardstick: Made of the same envelope.
            explain: What else there is to say of a rejected row.
        """
        rows = yardstick.rows
        rejected = judgement.rejected_cases[:rows]
        self.cases += rows
        self.rejected += int(rejected.sum())
        self.accepted += int(judgement.accepted_cases[:rows].sum())
        if judgement.malformed:
            return self._reject(ids[0], judgement.malformed)
        self.undecided += yardstick.undecided
        self.components += int(judgement.got[:rows].size)
        self._digest(judgement.got[:rows], ids[0])
        self._measure(judgement, ids, yardstick)
        if not rejected.any():
            return None
        row = int(np.argmax(rejected))
        wrong = ~judgement.accepted_components[row]
        component = component_at(judgement.envelope, judgement.got, row, int(np.argmax(wrong)))
        reason = f"{component}; {int(wrong.sum())} of {wrong.size} components are wrong"
        return self._reject(ids[row], "; ".join(filter(None, (reason, explain(row)))))

    def fail(self, cases: int, case_id: str, reason: str) -> Rejection:
        """Count cases on which the engine gave no answer at all."""
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

    def _reject(self, case_id: str, reason: str) -> Rejection:
        rejection = Rejection(self.key.engine, self.key.execution, case_id, reason)
        self.note = self.note or f"{case_id}: {reason}"
        return rejection

    def _digest(self, got: Array, first_id: str) -> None:
        # A sum of keyed hashes, so that neither the order of batches nor their distribution over machines matters.
        key = hashlib.blake2b(first_id.encode(), digest_size=16).digest()
        block = hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=8, key=key).digest()
        self.digest = (self.digest + int.from_bytes(block, "little")) % 2**64

    def _measure(self, judgement: Judgement, ids: Any, yardstick: Yardstick) -> None:
        deviation, error = yardstick.select(judgement.deviation), yardstick.select(judgement.error)
        if deviation.size == 0:
            return
        with np.errstate(all="ignore"):
            self.sharp += yardstick.sharp_components
            signed = deviation * yardstick.per_truth
            squares = _row_sums(signed, signed)
            self.error_squares.add(float(squares.sum()))
            self.mean_error.add(_row_sums(signed), yardstick.sharp)
            self.square_error.add(squares, yardstick.sharp)
            signed = deviation * yardstick.per_signed_bound
            self.mean_margin.add(_row_sums(signed), yardstick.sharp)
            self.square_margin.add(_row_sums(signed, signed), yardstick.sharp)
            self.bounds.counts += yardstick.bounds.counts
            margin = error * yardstick.per_bound
            if yardstick.some_exact:  # 0 / 0
                margin = np.where(error == 0.0, 0.0, margin)
            in_u = error * yardstick.per_u
            self.margins.add(margin)
            self.errors.add(in_u, ignored_zeros=yardstick.abnormal)
            self.counted += error.size
            self.measured += error.size - yardstick.abnormal
            self.informative += yardstick.informative
            self.error_max = max(self.error_max, _nan_as_infinity(in_u.max()))
            worst = _nan_as_infinity(margin.max())
        if worst >= self.margin_max:
            row = int(np.argmax(np.where(np.isnan(margin), np.inf, margin)) // margin.shape[1])
            counted = np.arange(yardstick.rows) if yardstick.decided is None else np.flatnonzero(yardstick.decided)
            self._worst(worst, ids[int(counted[row])])

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
        self.note = min(filter(None, (self.note, other.note)), key=_batch_of, default="")

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
        """Rejected if one case was; accepted if one was, and the check had teeth: one component at least judged sharply."""
        if self.rejected:
            return Verdict.REJECTED
        if self.cases == 0:
            return Verdict.NOT_RUN
        return Verdict.ACCEPTED if self.accepted and self.informative else Verdict.UNDECIDED

    def row(self) -> dict[str, Any]:
        """Return the row, in the columns of `tolerance.csv`.

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
            "informative": self.informative / self.counted if self.counted else float("nan"),
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
            "error_u_rms": (float(self.error_squares) / self.sharp) ** 0.5 if self.sharp else float("nan"),
            "error_u_rms_se": self.square_error.root[1],
            "bound_u_p50": self.bounds.quantile(0.5),
            "bound_u_p99": self.bounds.quantile(0.99),
            "worst_case": self.worst_case,
            "digest": f"{self.digest:016x}",
            "compile_s": round(self.compile_s, 6),
            "run_s": round(self.run_s, 6),
            "note": self.note,
        }


#: What a tally adds up.
_ADDED = (
    *("cases", "components", "accepted", "rejected", "undecided", "counted", "informative", "measured", "sharp"),
    *("compile_s", "run_s"),
)


def _batch_of(note: str) -> int:
    """Return the number of the batch that a note speaks of; notes without one come first."""
    parts = note.split(":")
    return int(parts[3]) if len(parts) > 4 and parts[3].isdigit() else -1


@dataclass
class StepTally(Tally):
    """The running count behind one row of `steps.csv`: one step of the triangular method, judged by itself.

    Attributes:
        judged: Which: "linearisation" or "substitution".
        ratios: How many times sharper the step's bound is than the gradient's, for each component of a substitution.
    """

    judged: str = ""
    ratios: Histogram = field(default_factory=Histogram)

    def compare(self, step: Envelope, gradient: Envelope, rows: int) -> None:
        """Count how much sharper the step is judged than the gradient, over the first rows of a batch."""
        decided = step.decided[:rows] & gradient.decided[:rows]
        self.ratios.add(gradient.bound[:rows][decided] / step.bound[:rows][decided])

    def row(self) -> dict[str, Any]:
        """Return the row, in the columns of `steps.csv`."""
        return {"judged": self.judged, **super().row(), "sharper_p50": self.ratios.quantile(0.5)}


@dataclass
class Pair:
    """The running count behind one row of `agreement.csv`: two engines on the same cases.

    Two right answers lie within the sum of their bounds of each other.
    """

    engine_a: str
    engine_b: str
    ensemble: str
    depth: int
    width: int
    components: int = 0
    identical: int = 0
    disagreeing: int = 0
    informative: int = 0
    margin_max: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What the row is about."""
        return self.engine_a, self.engine_b, self.ensemble, self.depth, self.width

    def add(self, a: Array, b: Array, per_two_bounds: Array, informative: int) -> None:
        """Count the components of two answers.

        Args:
            a: One answer.
            b: The other.
            per_two_bounds: 1 / (bound of a + bound of b).
            informative: How many components that sum judges sharply.
        """
        self.informative += informative
        with np.errstate(all="ignore"):
            margin = np.abs(a - b) * per_two_bounds
            largest = _nan_as_infinity(margin.max(initial=0.0))
            if not largest <= 1.0:
                self.disagreeing += margin.size - int(np.count_nonzero(margin <= np.float32(1.0)))
        self.components += margin.size
        self.identical += int(np.count_nonzero(a.view(np.int32) == b.view(np.int32)))
        self.margin_max = max(self.margin_max, largest)

    def merge(self, other: Pair) -> None:
        """Count what another one counted, of other cases of the same row."""
        for name in ("components", "identical", "disagreeing", "informative"):
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
            "informative": self.informative / self.components if self.components else float("nan"),
            "margin_max": self.margin_max,
            "verdict": str(verdict if self.components else Verdict.UNDECIDED),
        }


def _row_sums(*factors: Array) -> Array:
    """Return the sum of the products of each row. (No BLAS: it would start threads of its own beside those of the run.)"""
    letters = ",".join(["ij"] * len(factors))
    return np.einsum(f"{letters}->i", *factors)


def _nan_as_infinity(value: Any) -> float:
    return float("inf") if np.isnan(value) else float(value)
