"""A function's answers judged point by point: the one judge of the sweeps.

A point is accepted when |got − truth| <= bound is true for one of the truths that are right there; where the truth is
infinite, got must be that infinity. NaN then fails by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainback.judging.judgement import Verdict
from chainback.judging.statistics import Histogram
from chainback.operations.arithmetic import FLOAT32, Arithmetic

__all__ = ["CURVE", "Right", "Swept", "judge_points"]

Array = np.ndarray
#: Under which a sweep's row has its row of `curves.csv`, to be taken out before it is written.
CURVE = "curve"


class Right(NamedTuple):
    """What would be right at each point, and within which bound."""

    truth: Array
    bound: Array


@dataclass(frozen=True)
class Swept:
    """The judgement of one sweep.

    Attributes:
        accepted: Which points are.
        excused: Which of the others lie where a fault is known.
        worst: The place of the largest error / bound among the points that are not excused.
        furthest: The place of the largest error in u.
        in_u: The error in u at each point; NaN where the truth is no normal number.
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


def judge_points(got: Array, rights: Sequence[Right], arithmetic: Arithmetic, known: Array | None = None) -> Swept:
    """Judge a function's answers at some points.

    Args:
        got: What the function answered.
        rights: What would be right; where several are given, the nearest counts.
        arithmetic: Unit roundoff and smallest normal number of the answers.
        known: The points at which a wrong answer is no news.
    """
    u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
    answers = got.astype(np.float64)
    with np.errstate(all="ignore"):
        errors = [np.where(answers == right.truth, 0.0, np.abs(answers - right.truth)) for right in rights]
        margins = [
            np.where(error == 0.0, 0.0, np.where(np.isnan(error), np.inf, error / right.bound))
            for error, right in zip(errors, rights, strict=True)
        ]
        nearest = np.argmin(np.stack(margins), axis=0)
        error, truth, bound, margin = (
            np.choose(nearest, list(parts))
            for parts in (errors, [r.truth for r in rights], [r.bound for r in rights], margins)
        )
        accepted = (error == 0.0) | (error <= bound)
        normal = (np.abs(truth) >= tiny) & np.isfinite(truth)
        in_u = np.where(normal, error / (u * np.abs(truth)), 0.0)
        informative = bound <= FLOAT32.sharp_bound * np.abs(truth)
    excused = ~accepted & (np.zeros_like(accepted) if known is None else known)
    in_u = np.where(np.isnan(in_u), np.inf, in_u)
    margin = np.where(excused, -1.0, margin)
    histogram = Histogram()
    histogram.add(in_u[normal])
    counted = in_u[normal & ~excused]
    rejected = int((~accepted & ~excused).sum())
    verdict = Verdict.REJECTED if rejected else Verdict.KNOWN if excused.any() else Verdict.ACCEPTED
    worst, furthest = int(np.argmax(margin)), int(np.argmax(in_u))
    return Swept(
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
            "informative": float(np.mean(informative)),
            "margin_max": max(0.0, float(margin[worst])),
            "error_u_max": float(in_u[furthest]),
            "error_u_p99": histogram.quantile(0.99),
            "error_u_rms": float(np.sqrt(np.mean(counted**2))) if counted.size else 0.0,
            "lost_everything": int((normal & (in_u >= 0.5 / u)).sum()),
            "digest": hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=8).hexdigest(),
        },
    )
