"""Deep chains: the ways that truth and bound take for them give what the general ones give, and are quick."""

import time
from typing import Any

import numpy as np
import pytest
from agreement import assert_same

from chainback import Case, draw
from chainback.problems.ensembles import ENSEMBLES, draw_unpadded
from chainback.truth import chain_forward_error, chain_gradient, recurrences
from chainback.truth.chain_bound import Derived, envelope

#: (depth, width, rows), each deep.
SHAPES = ((65, 1, 1), (400, 1, 3), (200, 2, 1), (300, 3, 1), (5000, 1, 1))


def generally(case: Case, monkeypatch: pytest.MonkeyPatch) -> Derived:
    """The envelope by the loops that serve every batch."""
    with monkeypatch.context() as patched:
        for module in (recurrences, chain_gradient, chain_forward_error):
            patched.setattr(module, "is_deep", lambda layers: False)
        return envelope(case)


def assert_equal(deep: Derived, general: Derived, ulps: float = 2.0**10) -> None:
    """Equal but for the last bits, of what is decided; and what is decided is equal."""
    assert np.array_equal(deep.decided, general.decided)
    for name in ("arguments", "states", "slopes", "adjoints", "weight_gradients", "bias_gradients"):
        room = getattr(general.error_bounds, name)[..., general.decided]
        found = getattr(deep.error_bounds, name)[..., deep.decided]
        assert_same(f"error bound of {name}", found, room, ulps * 2.0**-53 * room)
        truths = (getattr(inside.truth, name)[..., general.decided] for inside in (deep, general))
        assert_same(name, *truths, room * 2.0**-26)
    assert_same(
        "bound",
        deep.bound[deep.decided],
        general.bound[general.decided],
        ulps * 2.0**-53 * general.bound[general.decided],
    )


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_deep_chain_has_the_truth_and_the_bound_that_the_loops_give(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth, width, rows in SHAPES[: 5 if name in ("deep", "alive") else 4]:
        for case in draw_unpadded(name, seed=depth, depth=depth, width=width, rows=rows, count=2 if depth < 99 else 1):
            assert recurrences.is_deep(chain_gradient.batch_last(case.chain.biases))
            assert_equal(envelope(case), generally(case, monkeypatch))


def test_a_deep_chain_is_solved_at_once_unless_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = chain_forward_error._Recurrence.run
    monkeypatch.setattr(
        chain_forward_error._Recurrence, "run", lambda self, chunk: ran.append(len(self.names)) or run(self, chunk)
    )
    for name, depth, expected in (("deep", 5000, []), ("kinks", 300, []), ("saturated", 300, [300])):
        envelope(draw(name, seed=3, depth=depth, width=1, batch=0, rows=1))
        assert ran == expected


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (recurrences, "_CONVERGED", 2.0**-30),  # taken for solved too early
        (recurrences, "forward_substitute", lambda couplings, rhs: rhs),  # no substitution: each layer by itself
        (recurrences, "_tbtrs", lambda diagonals, rhs, uplo, diag: (rhs,)),
    ],
)
def test_a_way_of_its_own_that_is_wrong_is_noticed(
    module: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = draw_unpadded("alive", seed=1, depth=400, width=1, rows=1)
    right = generally(case, monkeypatch)
    assert_equal(envelope(case), right)
    monkeypatch.setattr(module, name, wrong)
    if name == "forward_substitute":  # Newton then gives up, and the loop is right
        monkeypatch.setattr(chain_forward_error._Recurrence, "run", lambda self, chunk: None)
    with pytest.raises(AssertionError):
        assert_equal(envelope(case), right)


def test_many_layers_are_quick() -> None:
    # 1.6 µs a layer on a quiet core, against 48 of the loops: a bound that a busy machine can keep, and the loops cannot.
    case = draw("deep", seed=0, depth=30_000, width=1, batch=0, rows=1)
    began = time.process_time()
    assert envelope(case).decided.all()
    assert time.process_time() - began < 30_000 * 20e-6
