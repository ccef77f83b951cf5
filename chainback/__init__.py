"""chainback: are the gradients that this JAX, on this device, computes right?

Each gradient of a chain x_i = h_i(W_i x_{i−1} + b_i) is computed by forward-mode AD, by reverse-mode AD and by solving
(I − L) dx = D dp; every component is judged against a float64 truth, within a bound derived for that component.

The public names load what they need when they are first used: importing chainback does not import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainback import pictures, strategies
    from chainback.activations import Activation, register
    from chainback.baselines import baseline
    from chainback.benchmarks import bench
    from chainback.campaign import verify
    from chainback.case import Case, Chain
    from chainback.chronicle import history
    from chainback.comparison import Comparison, compare
    from chainback.counts import merge
    from chainback.engines import ENGINES, gradient
    from chainback.engines.triangular import ExtendedJacobian, extended_jacobian
    from chainback.ensembles import ENSEMBLES, draw, rebuild
    from chainback.errors import BuildError, ChainbackError, EngineError, UsageError
    from chainback.explanation import explain
    from chainback.faults import FAULTS, audit
    from chainback.hosts import verify_on_hosts
    from chainback.judgement import Judgement, Verdict, judge
    from chainback.page import write_page
    from chainback.peers import side_by_side
    from chainback.programs import states
    from chainback.quantecon import Lecture, lecture
    from chainback.report import Report
    from chainback.reproduction import replay
    from chainback.showing import show, write_pictures
    from chainback.supervision import supervise
    from chainback.training import Training, initialise, train
    from chainback.versions import bisect, upgrade

_HOMES = {
    "Activation": "activations",
    "BuildError": "errors",
    "Case": "case",
    "Chain": "case",
    "ChainbackError": "errors",
    "Comparison": "comparison",
    "ENGINES": "engines",
    "ENSEMBLES": "ensembles",
    "EngineError": "errors",
    "FAULTS": "faults",
    "ExtendedJacobian": "engines.triangular",
    "Judgement": "judgement",
    "Lecture": "quantecon",
    "Report": "report",
    "Training": "training",
    "initialise": "training",
    "lecture": "quantecon",
    "train": "training",
    "UsageError": "errors",
    "Verdict": "judgement",
    "audit": "faults",
    "baseline": "baselines",
    "bench": "benchmarks",
    "bisect": "versions",
    "compare": "comparison",
    "draw": "ensembles",
    "explain": "explanation",
    "extended_jacobian": "engines.triangular",
    "gradient": "engines",
    "history": "chronicle",
    "judge": "judgement",
    "merge": "counts",
    "rebuild": "ensembles",
    "pictures": "pictures",
    "register": "activations",
    "show": "showing",
    "side_by_side": "peers",
    "supervise": "supervision",
    "replay": "reproduction",
    "states": "programs",
    "upgrade": "versions",
    "strategies": "strategies",
    "verify": "campaign",
    "verify_on_hosts": "hosts",
    "write_page": "page",
    "write_pictures": "showing",
}

__all__ = [
    "ENGINES",
    "ENSEMBLES",
    "FAULTS",
    "Activation",
    "BuildError",
    "Case",
    "Chain",
    "ChainbackError",
    "Comparison",
    "EngineError",
    "ExtendedJacobian",
    "Judgement",
    "Lecture",
    "Report",
    "Training",
    "UsageError",
    "Verdict",
    "audit",
    "baseline",
    "bench",
    "bisect",
    "compare",
    "draw",
    "explain",
    "extended_jacobian",
    "gradient",
    "history",
    "initialise",
    "judge",
    "lecture",
    "merge",
    "pictures",
    "rebuild",
    "register",
    "replay",
    "show",
    "side_by_side",
    "states",
    "strategies",
    "supervise",
    "train",
    "upgrade",
    "verify",
    "verify_on_hosts",
    "write_page",
    "write_pictures",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == _HOMES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
