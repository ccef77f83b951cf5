"""A program: a traced JAX function and its arguments, as plain data. No JAX: the jaxpr is read by what it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainback.operations.arithmetic import Array

__all__ = ["Program"]


@dataclass(frozen=True)
class Program:
    """A traced function and its arguments.

    Attributes:
        name: Of the function.
        jaxpr: Its closed jaxpr; inputs and outputs flat.
        arguments: A value for each input, in the program's own dtype; read-only.
        inputs: What each input is called, as a path into the arguments: `params['w2']`.
        outputs: Likewise of the results.
        judged: Which inputs are differentiated: the floats among them, or among `argnums`.
        cotangents: The seed of each float output, in the output's dtype; by place.
    """

    name: str
    jaxpr: Any
    arguments: tuple[Array, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    judged: tuple[int, ...]
    cotangents: dict[int, Array]
