"""NumPy code run by JAX: the same source, compiled in float64 for a device.

NumPy passes each of its functions on to an argument that implements it (NEP 13, NEP 18). `Lifted` implements them by the
functions of `jax.numpy` of the same names. So code in NumPy's functions of its arguments need not be written twice, and the
float64 functions of an activation that a user registers can be lifted, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import experimental, lax
from jax.scipy import special
from numpy.lib.mixins import NDArrayOperatorsMixin

from chainback.engines.networks import Array
from chainback.operations import arithmetic
from chainback.truth import recurrences

__all__ = ["Lifted", "double_precision", "lift", "lowered"]


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which this thread's JAX computes float64 arrays in float64."""
    where: Any = jax if hasattr(jax, "enable_x64") else experimental  # where JAX before 0.8 has it
    return where.enable_x64(True)


def lift(array: Array) -> Any:
    """Return an array of JAX as one that NumPy code takes; for a type checker it is one of NumPy's."""
    return Lifted(array)


def lowered(value: Any) -> Any:
    """Return JAX's array of a lifted one, also within tuples and lists; anything else as it is."""
    if isinstance(value, tuple | list):
        return type(value)(lowered(part) for part in value)
    return value.array if isinstance(value, Lifted) else value


class Lifted(NDArrayOperatorsMixin):
    """An array of JAX that NumPy code takes for one of NumPy's.

    It differs in three things. A part that NumPy would take as a view, by an index or as `swapaxes` does, is a copy: code
    that assigns to such a part to change the whole is refused, and a part does not follow later changes of the whole. An
    index beyond its end raises nothing. And whether *any* element is true may not be known while tracing: `any` returns
    True, so that code which tests it to save work does the work.
    """

    def __init__(self, array: Array, *, part: bool = False) -> None:
        """Lift an array of JAX, or a part of a lifted one."""
        self.array, self._part = array, part

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **others: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"np.{ufunc.__name__}.{method} cannot be lifted")
        found = _of_the_same_name(ufunc)(*lowered(inputs), **others)
        if out is not None:
            (target,) = out
            if not np.can_cast(found.dtype, target.dtype, "same_kind"):
                raise TypeError(f"np.{ufunc.__name__} gives {found.dtype}, which is not put into {target.dtype}")
            return target._hold(found.astype(target.dtype))
        return tuple(map(Lifted, found)) if isinstance(found, tuple) else Lifted(found)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any, named: dict[str, Any]
    ) -> Any:
        if function is np.copyto:
            target, source = arguments
            target._hold(jnp.where(lowered(named["where"]), lowered(source), target.array))
            return None
        named = {name: lowered(value) for name, value in named.items()}
        found = _of_the_same_name(function)(*lowered(arguments), **named)
        return Lifted(found, part=function.__name__ not in _OF_ITS_OWN)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a lifted array has no values yet")

    def __bool__(self) -> bool:
        raise TypeError("what a lifted array holds decides nothing: it is not known yet")

    def _hold(self, array: Array) -> Lifted:
        if self._part:
            raise TypeError("a part of a lifted array is a copy: assign to the whole")
        self.array = array
        return self

    def __getitem__(self, index: Any) -> Lifted:
        return Lifted(self.array[lowered(index)], part=True)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._hold(self.array.at[lowered(index)].set(lowered(value)))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Lifted]:
        return (self[place] for place in range(len(self)))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array."""
        return self.array.shape

    @property
    def size(self) -> int:
        """As of the array."""
        return self.array.size

    @property
    def dtype(self) -> Any:
        """As of the array."""
        return self.array.dtype

    def astype(self, dtype: Any) -> Lifted:
        """Convert, as NumPy does."""
        return Lifted(self.array.astype(dtype))

    def any(self) -> bool:
        """Say that some element may be true."""
        return True

    def all(self, axis: int) -> Lifted:
        """Reduce over an axis, as the following do over one or more."""
        return Lifted(self.array.all(axis))

    def max(self, axis: Any) -> Lifted:
        """Reduce."""
        return Lifted(self.array.max(axis))

    def min(self, axis: Any) -> Lifted:
        """Reduce."""
        return Lifted(self.array.min(axis))

    def sum(self, axis: Any) -> Lifted:
        """Reduce."""
        return Lifted(self.array.sum(axis))

    def prod(self, axis: Any) -> Lifted:
        """Reduce."""
        return Lifted(self.array.prod(axis))


cast(Any, arithmetic.Array).register(Lifted)

#: Functions whose result is never a view of their arguments.
_OF_ITS_OWN = {"zeros_like", "ones_like", "empty_like", "full_like", "copy", "where", "stack", "concatenate", "einsum"}


def _of_the_same_name(function: Any) -> Callable[..., Any]:
    name = function.__name__
    for where in (jnp, special):
        if hasattr(where, name):
            return getattr(where, name)
    raise TypeError(f"{name} cannot be lifted: JAX has no function of that name")


@recurrences.recur.register(Lifted)
def _scanned(first: Any, step: Callable[..., Any], *layers: Any) -> Any:
    def through(before: Array, layer: tuple[Array, ...]) -> tuple[Array, Array]:
        found = lowered(step(Lifted(before), *map(Lifted, layer)))
        return found, found

    _, behind = lax.scan(through, first.array, lowered(layers))
    return Lifted(jnp.concatenate([first.array[None], behind]))
