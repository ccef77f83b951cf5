"""A chain is a program, too: the tape of its jaxpr has the chain's truth, and two derivations of the bound agree."""

import jax
import numpy as np
from hypothesis import assume, given, settings

from chainback import strategies
from chainback.engines.networks import loss, unrolled
from chainback.operations.primitives.record import Precision
from chainback.truth.chain_bound import envelope
from chainback.truth.interpreter import read
from chainback.truth.tape_bound import adjoints, forward_errors

#: How far the two bounds may lie apart, as a factor, in the median over a case's components: the chain's allows for every
#: order of its affine maps at once and knows exact sums, the tape's goes by equations.
FACTOR = 64.0
SMOOTH = ["identity", "sigmoid", "tanh", "softplus", "silu", "sin"]


def of_tape(case) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient by the tape, and its bound, as a row of components."""
    chain = case.chain

    def function(weights, biases):
        return loss(unrolled(weights, biases, chain.activations, case.inputs), case.targets)

    arguments = (chain.weights, chain.biases)
    tape = read(jax.make_jaxpr(function)(*arguments), arguments)
    how = Precision()
    found = adjoints(tape, forward_errors(tape, how), {tape.outputs[0]: np.ones(())}, how)
    zero = [np.zeros(a.shape) for a in arguments]
    rows = [
        [z if part is None else part for z, part in zip(zero, parts, strict=True)]
        for parts in (found.gradient, found.bound)
    ]
    return tuple(np.concatenate([part.ravel() for part in row]) for row in rows)  # type: ignore[return-value]


@settings(max_examples=25)
@given(case=strategies.cases(activations=SMOOTH, max_depth=4, max_width=3))
def test_the_tape_of_a_chain_has_the_chains_truth(case) -> None:
    bounds = envelope(case)
    assume(bool(bounds.decided.all()))
    gradient, bound = of_tape(case)
    reference, limit = bounds.reference[0], bounds.bound[0]
    # Two float64 evaluations: each within 2⁻²⁹ of what float32 may do.
    assert np.all(np.abs(gradient - reference) <= 2.0**-27 * (limit + bound))


@settings(max_examples=25)
@given(case=strategies.cases(activations=SMOOTH, max_depth=4, max_width=3))
def test_the_bound_of_the_tape_is_the_chains_within_a_factor(case) -> None:
    bounds = envelope(case)
    assume(bool(bounds.decided.all()))
    _, bound = of_tape(case)
    limit = bounds.bound[0]
    both = (bound > 1e-30) & (limit > 1e-30)
    assume(both.any())
    ratio = np.median(bound[both] / limit[both])
    assert 1.0 / FACTOR <= ratio <= FACTOR, ratio
