"""How reference gradients and bounds of another origin are judged by NumPy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from chainback.judging.judgement import Judgement, Result, judge_result
from chainback.operations.activations import activation
from chainback.operations.arithmetic import FLOAT64, Array
from chainback.truth.chain_bound import Derived
from chainback.truth.chain_forward_error import flushed_magnitudes, forward_error_bounds
from chainback.truth.chain_gradient import layers_by_activation
from chainback.truth.envelope import Envelope

__all__ = ["compared"]

#: How far they may be off, as a share of each bound. In float64 the reference's own error is about 2⁻²⁹ of a bound (see
#: `chain_gradient`), which leaves 2⁹ for other functions and another order; and no bound moves by more than a millionth.
_SHARE = 2.0**-20
#: How far a float64 evaluation may lie off in one layer, as a share of E_x and E_δ there: each of two does, and the share of
#: a bound has room for four such layers.
_APART = _SHARE / 8


def compared(found: Envelope, expected: Derived, activations: Sequence[str]) -> Judgement:
    """Judge an envelope by another one of the same cases: each reference and each bound, to within 2⁻²⁰ of that bound.

    Where one decides a case and the other does not, the first is wrong about it. Of the cases that are decided here, those
    that float64 does not settle are left undecided.
    """
    reference = np.concatenate([expected.reference, expected.bound], axis=1)
    bound = _SHARE * np.concatenate([expected.bound, expected.bound], axis=1)
    got = np.concatenate([found.reference, found.bound], axis=1)
    held = ~expected.decided | _settled(expected, tuple(activations))
    at_odds = held & (found.decided != expected.decided)
    got[at_odds] = np.nan
    decided = held & expected.decided | at_odds
    blocks = (*expected.blocks, *(replace(block, name=f"bound of {block.name}") for block in expected.blocks))
    both = replace(expected, reference=reference, bound=bound, decided=decided, blocks=blocks)
    return judge_result(both, Result(got))


def _settled(expected: Derived, activations: tuple[str, ...]) -> Array:
    """Say for which cases float64 settles every layer: two evaluations in it agree far within E_x and E_δ.

    Mostly float64 moves a layer by 2⁻²⁹ of what float32 does. But E_x and E_δ end where a function does: of sin(z) at
    z = 10⁷ ± 10¹⁰ all is known that can be, within [−1, 1], and its float64 value depends on the last bits of z.
    An argument that is a kink, to the bit, is one that float64 did not have to round.
    """
    truth, error_bounds = expected.truth, expected.error_bounds
    at_kink = np.zeros(truth.arguments.shape, bool)
    for name, layers in layers_by_activation(activations).items():
        at_kink[layers] = np.isin(truth.arguments[layers], activation(name).kinks)
    with np.errstate(all="ignore"):
        flushed = flushed_magnitudes(truth.weights, FLOAT64)
        double = forward_error_bounds(truth, activations, flushed, FLOAT64)
        # A bound that is not finite is no excuse.
        states = double.states[1:] > _APART * error_bounds.states[1:]
        slopes = (double.slopes > _APART * error_bounds.slopes) & ~at_kink
    return np.asarray(~(states | slopes).any(axis=(0, 1)))
