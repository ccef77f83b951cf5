"""The figures that the lecture prints, and when ours agree with them.

Both are right answers of float32 arithmetic, so each lies within the bound that `chain_bound` derives for it, and
|ours − printed| <= 2 × bound + half a unit of the last printed place. What is the same digit for digit is marked so
besides. After 100,000 updates no useful bound is left; those figures are printed to 4 or 5 decimals, and agree within one
unit of the last of them: half of it for the printing, half for the drift by rounding alone, which came to a quarter of a
unit at most (eight engines, JAX 0.4.30, 0.10.2 and 0.12, both random streams, on CPUs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainback.operations.arithmetic import FLOAT32

__all__ = ["PRINTED", "STREAMS", "Row", "in_full", "rounded", "same_digits", "units_apart"]

#: JAX's two random streams, by the release that changed the default, and their `jax_threefry_partitionable`.
STREAMS = {"since 0.5": True, "before 0.5": False}
#: What the figures are, by random stream. Of the older stream only the first entry of δ∘x is the lecture's own; the others
#: were computed by this module under JAX 0.4.30, 0.10.2 and 0.12, which agreed in every digit that stands here.
PRINTED: dict[str, dict[str, tuple[str, ...]]] = {
    "since 0.5": {
        "δ∘x": ("1.0165801", "0.06087969", "0.09382247"),
        "δ": ("0.20331602", "0.08501981", "1.0"),
        "jacfwd − solve": ("0.0",),
        "reverse − solve": ("5.9604645e-08",),
        "update, triangular: w": ("-0.00826643", "-2.0638916", "1.6248171"),
        "update, triangular: b": ("0.94700736", "-0.7872697", "1.5765371"),
        "update, reverse: w": ("-0.00826644", "-2.0638916", "1.6248171"),
        "update, reverse: b": ("0.94700736", "-0.7872697", "1.5765371"),
        "Example 1: w": ("-0.7773", "-6.3812", "-11.3325"),
        "Example 1: b": ("1.1702", "2.8372", "2.1674"),
        "Example 1: largest error": ("0.3326",),
        "Example 1: mean squared error": ("0.02357",),
    },
    "before 0.5": {
        "δ∘x": ("8.5726520e-03", "4.0850646e-04", "6.1021698e-01"),
        "δ": ("0.00171453", "0.23785222", "1.0"),
        "jacfwd − solve": ("0.0",),
        "reverse − solve": ("1.4901161e-08",),
        "update, triangular: w": ("-1.3489482", "-0.00782906", "0.22937916"),
        "update, triangular: b": ("0.37956238", "0.44972023", "-0.04793657"),
        "update, reverse: w": ("-1.3489482", "-0.00782906", "0.22937916"),
        "update, reverse: b": ("0.37956238", "0.44972023", "-0.04793657"),
        "Example 1: w": ("-0.7574", "-6.3834", "-11.2941"),
        "Example 1: b": ("1.1322", "2.7973", "2.1634"),
        "Example 1: largest error": ("0.3839",),
        "Example 1: mean squared error": ("0.01681",),
    },
}


@dataclass(frozen=True)
class Row:
    """One figure of the lecture beside ours.

    Attributes:
        what: Which figure.
        printed: As it is printed; empty where the lecture claims something but prints no figure.
        ours: As computed now.
        agrees: Whether the two agree.
        same: Whether every printed digit is the same.
        allowed: By how much the figures may differ, and still agree; the largest of several.
    """

    what: str
    printed: tuple[str, ...]
    ours: tuple[float, ...]
    agrees: bool
    same: bool
    allowed: float


def in_full(stream: str, what: str, ours: Any, allowed: np.ndarray) -> Row:
    """Compare figures that are printed in full: NumPy prints eight decimals, or as many as tell a float32 from the next.

    Args:
        stream: One of `STREAMS`.
        what: Which figure, a key of `PRINTED`.
        ours: As computed here.
        allowed: Twice the bound, before the half unit of the printing.
    """
    printed = PRINTED[stream][what]
    numbers, figures = np.asarray(ours, np.float64).reshape(-1), np.array([float(figure) for figure in printed])
    allowed = allowed + np.array([_half_a_unit(figure) for figure in printed])
    agrees = bool((np.abs(numbers - figures) <= allowed).all())
    return Row(what, printed, tuple(map(float, numbers)), agrees, same_digits(printed, numbers), float(allowed.max()))


def _half_a_unit(figure: str) -> float:
    """Return half a unit of the last place that NumPy prints; a float32 that it cuts short is off by half an ulp at most."""
    exponent = int(figure.partition("e")[2] or 0)
    return max(0.5e-8 * 10.0**exponent, FLOAT32.unit_roundoff * abs(float(figure)))


def same_digits(printed: Sequence[str], ours: Any) -> bool:
    """Whether NumPy prints ours as it prints these."""
    return str(np.array([float(figure) for figure in printed], np.float32)) == str(np.asarray(ours, np.float32))


def rounded(stream: str, what: str, ours: np.ndarray) -> Row:
    """Compare figures that are printed to a few decimals: within one unit of the last of them."""
    printed = PRINTED[stream][what]
    same = [f"{number:.{_decimals(figure)}f}" == figure for figure, number in zip(printed, ours, strict=True)]
    near = all(units <= 1.0 for units in units_apart(printed, ours))
    return Row(what, printed, tuple(map(float, ours)), near, all(same), max(map(_unit, printed)))


def units_apart(printed: Sequence[str], ours: Any) -> list[float]:
    """Return how far ours are from the printed figures, in units of the last printed place."""
    return [abs(float(number) - float(figure)) / _unit(figure) for figure, number in zip(printed, ours, strict=True)]


def _decimals(figure: str) -> int:
    return len(figure.partition(".")[2])


def _unit(figure: str) -> float:
    return 10.0 ** -_decimals(figure)
