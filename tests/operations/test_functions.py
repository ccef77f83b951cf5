"""The tables of elementary functions: every family, every function once, and known faults in small regions."""

import numpy as np

from chainback.operations.functions import FUNCTIONS
from chainback.operations.jax_functions import JAX_FUNCTIONS
from chainback.operations.reference import points_of, truth_of


def test_the_table_has_every_family_and_no_name_twice() -> None:
    assert len(JAX_FUNCTIONS) >= 140
    assert len({function.name for function in JAX_FUNCTIONS}) == len(JAX_FUNCTIONS)
    assert len({function.path for function in JAX_FUNCTIONS}) >= 120
    for family, least in (("jax.numpy.", 40), ("jax.nn.", 18), ("jax.lax.", 12), ("jax.scipy.special.", 30)):
        assert len({f.path for f in JAX_FUNCTIONS if f.path.startswith(family)}) >= least
    assert {function.second for function in JAX_FUNCTIONS} == {"", "array", "scalar"}
    assert {function.computes.name for function in JAX_FUNCTIONS} == set(FUNCTIONS)


def test_known_regions_are_regions() -> None:
    """No entry excuses more than half of a function's points."""
    for function in JAX_FUNCTIONS:
        points = points_of(function.computes).astype(np.float64)
        for known in function.known:
            truth = truth_of(function.computes)[int(known.argument or known.quantity == "derivative")]
            if known.argument:
                truth = truth_of(function.computes)[1 + int(known.argument)]
            with np.errstate(all="ignore"):
                where = np.broadcast_to(known.where(*points, truth), truth.shape)
            assert 0 < where.mean() <= 0.55, (function.name, known)
            assert known.why
