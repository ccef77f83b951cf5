"""Results of one function judged point by point: the one judge of the sweeps.

A point is accepted when |got − reference| <= bound is true for one of the references that are right there; where the
reference is infinite, got must be that infinity. NaN then fails by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainback.judging.judgement import Verdict
from chainback.judging.statistics import Histogram
from chainback.operations.arithmetic import FLOAT32, Arithmetic, Array

__all__ = ["CURVE", "Expected", "PointJudgement", "judge_points"]

#: The key under which a sweep's row carries its row of `curves.csv`, which is taken out before the row is written.
CURVE = "curve"


class Expected(NamedTuple):
    """A reference at each point, and the bound around it."""

    reference: Array
    bound: Array


@dataclass(frozen=True)
class PointJudgement:
    """The judgement of one sweep.

    Attributes:
        accepted: Which points are.
        excused: Which of the others lie where a fault is known.
        worst: The place of the largest error / bound among the points that are not excused.
        furthest: The place of the largest error in u.
        in_u: The error in u at each point; NaN where the reference is no normal number.
        counts: The columns that every sweep reports.
    """

    accepted: Array
    excused: Array
    worst: int
    furthest: int
    in_u: Array
    counts: dict[str, Any]

    @property
    def rejected(self) -> Array:
        """Which points are wrong, and not known to be."""
        return ~self.accepted & ~self.excused


def judge_points(
    got: Array, expected: Sequence[Expected], arithmetic: Arithmetic, known: Array | None = None
) -> PointJudgement:
    """Judge the results of a function at some points.

    Args:
        got: The results.
        expected: Reference and bound; of several the nearest counts at each point.
        arithmetic: Unit roundoff and smallest normal number of the results.
        known: The points at which a fault is known, so that a wrong result is excused.
    """
    u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
    results = got.astype(np.float64)
    with np.errstate(all="ignore"):
        errors = [np.where(results == each.reference, 0.0, np.abs(results - each.reference)) for each in expected]
        margins = [
            np.where(error == 0.0, 0.0, np.where(np.isnan(error), np.inf, error / each.bound))
            for error, each in zip(errors, expected, strict=True)
        ]
        nearest = np.argmin(np.stack(margins), axis=0)
        error, reference, bound, margin = (
            np.choose(nearest, list(parts))
            for parts in (errors, [e.reference for e in expected], [e.bound for e in expected], margins)
        )
        accepted = (error == 0.0) | (error <= bound)
        normal = (np.abs(reference) >= tiny) & np.isfinite(reference)
        in_u = np.where(normal, error / (u * np.abs(reference)), 0.0)
        sharp = bound <= FLOAT32.sharp_bound * np.abs(reference)
    excused = ~accepted & (np.zeros_like(accepted) if known is None else known)
    in_u = np.where(np.isnan(in_u), np.inf, in_u)
    margin = np.where(excused, -1.0, margin)
    histogram = Histogram()
    histogram.add(in_u[normal])
    counted = in_u[normal & ~excused]
    rejected = int((~accepted & ~excused).sum())
    verdict = Verdict.REJECTED if rejected else Verdict.KNOWN if excused.any() else Verdict.ACCEPTED
    worst, furthest = int(np.argmax(margin)), int(np.argmax(in_u))
    return PointJudgement(
        accepted,
        excused,
        worst,
        furthest,
        np.where(normal, in_u, np.nan),
        {
            "points": got.size,
            "accepted": int(accepted.sum()),
            "rejected": rejected,
            "verdict": str(verdict),
            "sharp": float(np.mean(sharp)),
            "margin_max": max(0.0, float(margin[worst])),
            "error_u_max": float(in_u[furthest]),
            "error_u_p99": histogram.quantile(0.99),
            "error_u_rms": float(np.sqrt(np.mean(counted**2))) if counted.size else 0.0,
            "lost_everything": int((normal & (in_u >= 0.5 / u)).sum()),
            "digest": hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=8).hexdigest(),
        },
    )
