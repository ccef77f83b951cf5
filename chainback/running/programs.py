"""The compiled engines of a run: compiled ahead, in threads of their own, in the order in which their shapes are needed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import jax

from chainback.engines.engine import Engine
from chainback.engines.user_engines import EngineOnPlatform, Protocol
from chainback.errors import EngineError, sentence
from chainback.operations.arithmetic import Arithmetic
from chainback.processes.watch import Step, Watch
from chainback.running.batch import ReferenceSource

__all__ = ["Programs", "step"]


def step(subject: str, execution: str, depth: int = 0, width: int = 0, rows: int = 0) -> Step:
    """Return a step of a run.

    Args:
        subject: The engine, or what else is at work.
        execution: "import", "compile", "batched", "single", "eager", or "sweep".
        depth: Of the chains; 0 where there are none, like the next.
        width: Of the chains.
        rows: Cases in the batch.
    """
    shape = f" at {depth}x{width}, {rows} at once" if depth else ""
    action = {"import": "was imported", "compile": "was compiled", "sweep": "was swept"}.get(execution)
    return Step(subject, f"{action or f'ran ({execution})'}{shape}")


@dataclass
class Programs:
    """Programs by engine and shape.

    Attributes:
        engines: Engines on platforms, by name.
        setting: JAX's matmul precision, to compile under in other threads.
        watch: The connection to the supervisor.
        source: What computes reference gradients elsewhere than in NumPy, if anything does: it has programs, too.
    """

    engines: Mapping[str, EngineOnPlatform]
    setting: str | None
    watch: Watch
    source: ReferenceSource | None = None
    _compiled: dict[tuple[str, int, int, int], Future[tuple[Protocol, float]]] = field(default_factory=dict)
    _prepared: dict[tuple[int, int, int], Future[None]] = field(default_factory=dict)

    @property
    def arithmetics(self) -> Sequence[Arithmetic]:
        """The arithmetics under which results are judged."""
        return list(dict.fromkeys(one.platform.arithmetic for one in self.engines.values()))

    def compile_ahead(self, shapes: Iterable[tuple[int, int, int]], pool: ThreadPoolExecutor) -> None:
        """Start to compile our own engines for every shape (depth, width, rows), in that order."""
        for shape in dict.fromkeys(shapes):
            if self.source is not None:
                self._prepared[shape] = pool.submit(self._prepare, self.source, shape)
            for name, one in self.engines.items():
                if isinstance(one.engine, Engine) and not one.engine.limit(*shape):
                    self._compiled[name, *shape] = pool.submit(self._compile, name, one, shape)

    def wait(self) -> None:
        """Wait until all compilations that were started have ended."""
        started: list[Future[Any]] = [*self._compiled.values(), *self._prepared.values()]
        wait(started)

    def program(self, name: str, shape: tuple[int, int, int]) -> tuple[Protocol, float]:
        """Return an engine as it runs on batches of a shape, and the seconds that compilation took, the first time.

        Raises:
            EngineError: It did not compile.
        """
        one = self.engines[name]
        if not isinstance(one.engine, Engine):
            return one.engine, 0.0
        future = self._compiled.get((name, *shape))
        try:
            program, seconds = future.result() if future else self._compile(name, one, shape)
        except EngineError:
            raise
        except Exception as error:  # a compiler's failure is the engine's
            raise EngineError(f"it did not compile: {sentence(error)}") from error
        if seconds:
            done: Future[tuple[Protocol, float]] = Future()
            done.set_result((program, 0.0))
            self._compiled[name, *shape] = done
        return program, seconds

    def wait_for_source(self, shape: tuple[int, int, int]) -> None:
        """Wait until the source of references is ready for batches of a shape; raise what kept it."""
        if shape in self._prepared:
            self._prepared[shape].result()

    def _prepare(self, source: ReferenceSource, shape: tuple[int, int, int]) -> None:
        with self.watch.step(step(source.name, "compile", *shape)):
            for arithmetic in self.arithmetics:
                source.prepare(*shape, arithmetic)

    def _compile(self, name: str, one: EngineOnPlatform, shape: tuple[int, int, int]) -> tuple[Protocol, float]:
        # JAX's setting is this thread's own; what counts is that of the thread which called.
        with self.watch.step(step(name, "compile", *shape)), jax.default_matmul_precision(self.setting):
            start = time.perf_counter()
            engine: Any = one.engine
            program = engine.compile(*shape, *one.platform.devices)
            return program, time.perf_counter() - start
