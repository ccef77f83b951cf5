"""chainback: are the gradients that this JAX, on this device, computes right?

The gradient of any JAX function (`check`), and of random deep networks, chains x_i = h_i(W_i x_{i−1} + b_i), by
forward-mode AD, by reverse-mode AD and by solving (I − L) dx = D dp (`verify`): every component is judged against a float64
truth, within a bound derived for that component. In Python, and in tests::

    import jax.numpy as jnp
    import numpy as np
    from hypothesis import given, settings

    import chainback

    chain = chainback.Chain.scalar([0.5, -1.2, 2.0], [0.1, 0.0, 0.3], ["sigmoid", "tanh", "identity"])
    x, y = np.float32([0.7]), np.float32([1.0])

    gradient = chainback.gradient(chain, x, y, engine="reverse-scan")
    assert chainback.judge(chainback.Case(chain, x, y), gradient).accepted

    system = chainback.extended_jacobian(chain, x)  # .couplings .slopes .states .matrix() .rhs()
    jacobian_of_all_states = system.solve(solver="parallel")  # forward substitution: dx = (I − L)⁻¹ D dp

    of_a_function = chainback.program(lambda w, x: jnp.sum(jnp.tanh(w @ x)), np.eye(2, dtype=np.float32), jnp.ones(2))
    assert of_a_function.solve_transposed([1.0])[0].shape == (2, 2)

    report = chainback.verify(engines=["reverse-scan"], ensembles=["lecture"], cases=100, depths=[3])
    assert report.accepted, report.rejections
    report.to_csv("tolerance.csv")


    @settings(deadline=None, max_examples=20)  # each new shape compiles
    @given(chainback.strategies.cases(max_depth=4, max_width=2))
    def test_my_gradients(case):
        mine = chainback.gradient(case.chain, case.inputs, case.targets, engine="triangular-substitution")
        assert chainback.judge(case, mine).verdict is not chainback.Verdict.REJECTED

The public names load what they need when they are first used: importing chainback does not import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainback import errors
    from chainback.diagnosis.explanation import explain
    from chainback.diagnosis.replay import replay
    from chainback.engines.networks import states
    from chainback.engines.registry import ENGINES, gradient
    from chainback.engines.triangular import extended_jacobian
    from chainback.judging.judgement import Verdict, judge
    from chainback.operations.activations import register
    from chainback.operations.elementwise import Activation
    from chainback.problems import strategies
    from chainback.problems.chain import Case, Chain
    from chainback.problems.ensembles import draw, rebuild
    from chainback.reporting.comparison import compare
    from chainback.reporting.pages.show import show
    from chainback.reporting.shards import merge
    from chainback.running.check import check, check_grads
    from chainback.running.request import Request
    from chainback.running.tracing import program
    from chainback.running.verify import verify
    from chainback.studies.audit import audit
    from chainback.studies.quantecon.lecture import lecture
    from chainback.versions.baseline import baseline
    from chainback.versions.bisection import bisect
    from chainback.versions.history import history
    from chainback.versions.upgrade import upgrade

#: The public names, by the module that has them.
_NAMES = {
    "diagnosis.explanation": ("explain",),
    "diagnosis.replay": ("replay",),
    "engines.networks": ("states",),
    "engines.registry": ("ENGINES", "gradient"),
    "engines.triangular": ("extended_jacobian",),
    "judging.judgement": ("Verdict", "judge"),
    "operations.activations": ("register",),
    "operations.elementwise": ("Activation",),
    "problems.chain": ("Case", "Chain"),
    "problems.ensembles": ("draw", "rebuild"),
    "reporting.comparison": ("compare",),
    "reporting.pages.show": ("show",),
    "reporting.shards": ("merge",),
    "running.request": ("Request",),
    "running.verify": ("verify",),
    "running.check": ("check", "check_grads"),
    "running.tracing": ("program",),
    "studies.audit": ("audit",),
    "studies.quantecon.lecture": ("lecture",),
    "versions.baseline": ("baseline",),
    "versions.bisection": ("bisect",),
    "versions.history": ("history",),
    "versions.upgrade": ("upgrade",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
#: The public modules.
_MODULES = {"errors": "errors", "strategies": "problems.strategies"}

__all__ = [
    "ENGINES",
    "Activation",
    "Case",
    "Chain",
    "Request",
    "Verdict",
    "audit",
    "baseline",
    "bisect",
    "check",
    "check_grads",
    "compare",
    "draw",
    "errors",
    "explain",
    "extended_jacobian",
    "gradient",
    "history",
    "judge",
    "lecture",
    "merge",
    "program",
    "rebuild",
    "register",
    "replay",
    "show",
    "states",
    "strategies",
    "upgrade",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
