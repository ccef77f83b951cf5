"""Engines of the user's own and built-in ones: found by name, imported where need be, called under the protocol."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from chainback.engines.devices import Platform
from chainback.engines.engine import Compiled
from chainback.engines.networks import Array
from chainback.engines.registry import ENGINES, Engine
from chainback.errors import EngineError, UsageError, sentence
from chainback.problems.chain import Case

__all__ = [
    "EngineOnPlatform",
    "Protocol",
    "engines_named",
    "load_engine",
    "name_at",
    "on_platforms",
    "one_by_one",
    "run_engine",
    "run_engine_and_system",
]

#: gradients(weights, biases, activations, inputs, targets) -> (dweights, dbiases), on a batch.
Protocol = Callable[[Array, Array, tuple[str, ...], Array, Array], Any]


def load_engine(path: str) -> tuple[str, Protocol]:
    """Import an engine of the user's own.

    Args:
        path: `package.module:name`.

    Returns:
        The path and the callable.

    Raises:
        UsageError: There is no such thing, or it cannot be called.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise UsageError(f"engine {path!r} cannot be loaded: name it as package.module:name")
    try:
        found = getattr(importlib.import_module(module), name)
    except AttributeError:
        raise UsageError(f"engine {path!r} cannot be loaded: module {module} has no {name!r}") from None
    except (Exception, SystemExit) as error:  # whatever importing a stranger's module may raise
        raise UsageError(f"engine {path!r} cannot be loaded: {sentence(error)}") from None
    if not callable(found):
        raise UsageError(f"engine {path!r} cannot be used: it is a {type(found).__name__}, not a callable")
    return path, found


def engines_named(
    engines: str | Iterable[str | Protocol],
    importing: Callable[[str], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, Protocol]:
    """Return engines by name.

    Args:
        engines: "all", "none", or an iterable of names of `ENGINES` ("all" stands for all of them), paths
            `package.module:name`, and callables.
        importing: Returns a context for the import of one path; where entering it raises EngineError, so does the engine
            when it is called.

    Raises:
        UsageError: One is unknown or cannot be loaded.
    """
    if engines == "all":
        return dict(ENGINES)
    if engines == "none":
        return {}
    chosen: dict[str, Protocol] = {}
    if not isinstance(engines, Iterable):
        raise UsageError(f"`engines` must be all, none, or a list of names and callables, got {engines!r:.60}")
    for item in [engines] if isinstance(engines, str) else engines:
        if isinstance(item, str) and ":" in item:
            name, found = _loaded(item, importing)
            chosen[name] = found
        elif item == "all":
            chosen |= ENGINES
        elif isinstance(item, str):
            if item not in ENGINES:
                raise UsageError(
                    f"engine {item!r} is not known: use all, none, package.module:name, or of {', '.join(ENGINES)}"
                )
            chosen[item] = ENGINES[item]
        elif callable(item):
            _add(chosen, _name_of(item), item)
        else:
            raise UsageError(f"`engines` must hold names and callables, got {item!r:.60}")
    return chosen


def _loaded(path: str, importing: Callable[[str], AbstractContextManager[Any]]) -> tuple[str, Protocol]:
    try:
        with importing(path):
            return load_engine(path)
    except EngineError as error:
        reason = str(error)

    def not_imported(*_: Any) -> Any:
        raise EngineError(reason)

    return path, not_imported


def _name_of(engine: Protocol) -> str:
    if isinstance(engine, Engine):
        return engine.name
    named = engine if hasattr(engine, "__qualname__") else type(engine)
    return f"{named.__module__}:{named.__qualname__}"


def _add(chosen: dict[str, Protocol], name: str, engine: Protocol) -> None:
    """Add an engine under its name, or, where another engine bears it, under the name with a number."""
    number, free = 1, name
    while free in chosen and chosen[free] is not engine:
        number += 1
        free = f"{name}#{number}"
    chosen[free] = engine


def run_engine(engine: Protocol, case: Case, placed: dict[Any, Any] | None = None) -> Any:
    """Return an engine's gradients on a batch, under the protocol, with inputs that it cannot change.

    Args:
        engine: The engine.
        case: The batch.
        placed: The batch on devices, by placement: compiled engines of ours find it there, or leave it there for the next.

    Raises:
        EngineError: It raised; the message says what.
    """
    return run_engine_and_system(engine, case, placed)[0]


def run_engine_and_system(
    engine: Protocol, case: Case, placed: dict[Any, Any] | None = None
) -> tuple[Any, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """Do as `run_engine`, and return also the couplings, slopes and states of the system that the gradients came of.

    Only compiled engines of ours show one, and of these only the triangular ones; otherwise it is None.
    """
    chain = case.chain
    try:
        if isinstance(engine, Compiled):
            gradients, system = engine.solved(_placed(engine, case, {} if placed is None else placed))
            if system is None:
                return gradients, None
            return gradients, (np.asarray(system.couplings), np.asarray(system.slopes), np.asarray(system.states))
        arrays = [np.array(a) for a in (chain.weights, chain.biases, case.inputs, case.targets)]
        for array in arrays:
            array.flags.writeable = False
        weights, biases, inputs, targets = arrays
        return engine(weights, biases, chain.activations, inputs, targets), None
    except (KeyboardInterrupt, EngineError):
        raise
    except BaseException as error:  # an engine may raise anything, or try to end the run: that is its result
        raise EngineError(f"it raised {sentence(error)}") from error


def _placed(engine: Compiled, case: Case, placed: dict[Any, Any]) -> Any:
    """Return a batch where a compiled engine takes it; `placed` holds what was put on devices already, by placement."""
    if engine.placement not in placed:
        chain = case.chain
        placed[engine.placement] = engine.place(
            chain.weights, chain.biases, chain.activations, case.inputs, case.targets
        )
    return placed[engine.placement]


@dataclass(frozen=True)
class EngineOnPlatform:
    """An engine on a platform: what a run tests, and what a row of its report is about.

    Attributes:
        engine: The engine.
        platform: Where it runs. One of our own is compiled for its devices; any other is called while the first of them is
            JAX's default.
    """

    engine: Protocol
    platform: Platform


def on_platforms(engines: Mapping[str, Protocol], platforms: Sequence[Platform]) -> dict[str, EngineOnPlatform]:
    """Return every engine on every platform, by name: the engine's, and of several platforms as `reverse-scan@gpu`."""
    return {
        name_at(name, platform, platforms): EngineOnPlatform(engine, platform)
        for name, engine in engines.items()
        for platform in platforms
    }


def name_at(name: str, platform: Platform, platforms: Sequence[Platform]) -> str:
    """Return what a report calls something on one of a run's platforms."""
    return f"{name}@{platform.name}" if len(platforms) > 1 else name


def one_by_one(engine: Engine, execution: str, device: Any) -> Protocol:
    """Return one of our engines as it runs on a batch of one without the batch axis, activations resolved while tracing.

    Args:
        engine: The engine.
        execution: "single", jitted, or "eager", op by op.
        device: Where.
    """

    def gradients(weights: Array, biases: Array, names: tuple[str, ...], x: Array, y: Array) -> tuple[Array, Array]:
        arguments = jax.device_put((weights[0], biases[0], x[0], y[0]), device)

        def gradient(weights: Array, biases: Array, x: Array, y: Array) -> tuple[Array, Array]:
            return engine.gradient(weights, biases, names, x, y)

        if execution == "single":
            dweights, dbiases = jax.jit(gradient)(*arguments)
        else:
            with jax.disable_jit(), jax.default_device(device):
                dweights, dbiases = gradient(*arguments)
        return np.asarray(dweights)[None], np.asarray(dbiases)[None]

    return gradients
