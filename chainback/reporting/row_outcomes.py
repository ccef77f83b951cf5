"""What became of one row from an old report to a new one: identical, within bound, drifted, rejected, mended, …

A row of chains is a sample, so that its mean and its root mean square error move by chance; a drift is a move that chance
makes with a stated probability only. A sweep's points are fixed: there every move is real, and its size decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot, isfinite
from statistics import NormalDist

from chainback.judging.judgement import Verdict
from chainback.reporting.rows import Row

__all__ = ["DRIFT_FACTOR", "LEAST_DRIFT_U", "OUTCOMES", "drift_threshold", "outcome_of", "sampled_moves"]

#: All outcomes, the worst first.
OUTCOMES = ("rejected", "known", "undecided", "not run", "not there", "missing", "drifted", "mended", "new")
OUTCOMES += ("within bound", "identical")
#: Of a sampled row: what may drift. Each has its standard error beside it, in the column of its name + "_se".
_SAMPLED = ("error_u_mean", "error_u_rms", "margin_mean", "margin_rms")
#: A row of fewer cases says nothing about a mean.
_FEWEST_CASES = 30
#: Of a sweep: it drifted when its root mean square error moved by more than this factor and by more than this many u.
DRIFT_FACTOR, LEAST_DRIFT_U = 1.5, 0.5
#: Or when every digit is lost on more points than before, by more than one and more than this share of them.
_LOST = 1e-3
#: How bad a verdict is.
_RANKS = {Verdict.ACCEPTED: 0, Verdict.KNOWN: 1, Verdict.UNDECIDED: 2, Verdict.NOT_RUN: 3, Verdict.NOT_THERE: 3}
_RANKS |= {Verdict.REJECTED: 4}


def drift_threshold(false_alarm: float, rows: int) -> float:
    """Return by how many standard errors a mean must move to be called drifted.

    Args:
        false_alarm: The probability that any of the rows is called drifted where nothing but chance moved it. It is shared
            out among their means (Bonferroni).
        rows: How many sampled rows are compared.
    """
    return NormalDist().inv_cdf(1.0 - false_alarm / (2.0 * len(_SAMPLED) * max(1, rows)))


def outcome_of(old: Row | None, new: Row | None, drift: float) -> tuple[str, bool, str]:
    """Return what happened to a row, whether it is worse, and what moved."""
    rejected = str(Verdict.REJECTED)
    if old is None:
        assert new is not None
        return ("rejected", True, "") if new["verdict"] == rejected else ("new", False, "")
    if new is None:
        return "missing", _RANKS[old["verdict"]] < _RANKS[Verdict.NOT_RUN], ""
    rank_old, rank_new = _RANKS[old["verdict"]], _RANKS[new["verdict"]]
    if new["verdict"] == rejected:
        return "rejected", rank_old < rank_new or new.get("rejected", 0) > old.get("rejected", 0), ""
    if old["verdict"] == rejected or (old["verdict"], new["verdict"]) == (Verdict.KNOWN, Verdict.ACCEPTED):
        return "mended", False, ""
    if rank_new > rank_old and new["verdict"] in OUTCOMES:
        return new["verdict"], True, ""
    if _same_bits(old, new):
        return "identical", False, ""
    moves = list(sampled_moves(old, new, drift) if "cases" in new else _swept_moves(old, new))
    if moves:
        return "drifted", any(grew for grew, _ in moves), "; ".join(what for _, what in moves)
    return "within bound", False, ""


def _same_bits(old: Row, new: Row) -> bool:
    if "digest" in new:
        return old["digest"] == new["digest"] and old["verdict"] == new["verdict"]
    return all(old[name] == new[name] for name in ("identical", "margin_max"))


def sampled_moves(old: Row, new: Row, drift: float) -> Iterator[tuple[bool, str]]:
    """Yield (whether it grew, what moved by how much) of a sample's means that moved more than chance allows."""
    if min(old["cases"], new["cases"]) < _FEWEST_CASES:
        return
    same_bounds = old["matmul_precision"] == new["matmul_precision"]
    for name in _SAMPLED:
        if f"{name}_se" not in old or f"{name}_se" not in new or (name.startswith("margin") and not same_bounds):
            continue
        a, b = float(old[name]), float(new[name])
        chance = hypot(float(old[f"{name}_se"]), float(new[f"{name}_se"]))
        if not isfinite(a) or not isfinite(b):
            if isfinite(a) != isfinite(b):
                yield not isfinite(b), f"{name} {a:.4g} → {b:.4g}"
        elif abs(b - a) > drift * chance:
            yield abs(b) > abs(a), f"{name} {a:.4g} → {b:.4g} ({abs(b - a) / chance if chance else float('inf'):.1f} σ)"


def _swept_moves(old: Row, new: Row) -> Iterator[tuple[bool, str]]:
    """Yield (whether it grew, what moved) of a sweep."""
    if "error_u_rms" not in new:
        return
    a, b = float(old["error_u_rms"]), float(new["error_u_rms"])
    if not (isfinite(a) and isfinite(b)):
        return
    if abs(b - a) > LEAST_DRIFT_U and max(a, b) > DRIFT_FACTOR * min(a, b):
        yield b > a, f"error_u_rms {a:.4g} → {b:.4g}"
    before, after = int(old.get("lost_everything", 0)), int(new.get("lost_everything", 0))
    if abs(after - before) > max(1.0, _LOST * float(new["points"])):
        yield after > before, f"points where every digit is lost {before} → {after}"
