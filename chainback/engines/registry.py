"""Table of engines: `ENGINES`, from which commands, runs, properties and tests take them."""

from __future__ import annotations

from typing import Any

from chainback.engines.engine import Engine
from chainback.engines.forward import FORWARD
from chainback.engines.reverse import REVERSE
from chainback.engines.triangular import TRIANGULAR
from chainback.errors import UsageError
from chainback.problems.chain import Case, Chain

__all__ = ["ENGINES", "Engine", "engine_named", "gradient"]

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (*FORWARD, *REVERSE, *TRIANGULAR)}


def engine_named(name: str) -> Engine:
    """Return the built-in engine of that name.

    Raises:
        UsageError: There is none.
    """
    try:
        return ENGINES[name]
    except (KeyError, TypeError):
        raise UsageError(f"engine {name!r} is not known: use one of {', '.join(ENGINES)}") from None


def gradient(chain: Chain, x: Any, y: Any, engine: str = "reverse-scan") -> Chain:
    """Return the gradient of ½‖y − ŷ‖² in every weight and bias of a chain, or of each chain of a batch.

    It may be traced, jitted and vmapped by JAX.

    Args:
        chain: The chain.
        x: Its input, shape (width,), or (batch, width).
        y: The target, likewise.
        engine: A name of `ENGINES`.

    Returns:
        The gradients, shaped as the chain.

    Raises:
        UsageError: The engine is unknown, or the arrays do not fit.
        EngineError: The engine cannot take a batch of that size.
    """
    method = engine_named(engine)
    case = Case(chain, x, y)
    names = chain.activations
    if chain.is_batch:
        weights, biases = method(chain.weights, chain.biases, names, case.inputs, case.targets)
    else:
        weights, biases = method.gradient(chain.weights, chain.biases, names, case.inputs, case.targets)
    return Chain(weights, biases, names)
