"""Conversions between dtypes, and to fewer bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision
from chainback.operations.primitives.examples import example, flags, real, whole
from chainback.operations.primitives.maps import reshaped
from chainback.operations.primitives.record import Primitive, register


class _Converted(Primitive):
    """convert_element_type: between floats a rounding; from or to another type no derivative."""

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result; integers saturate, and NaN becomes 0, as XLA has it."""
        (x,), after = call.inputs, call.outs[0][1]
        if call.makes_float:
            return [np.asarray(x, np.float64)]
        if x.dtype.kind != "f" or after == "bool":
            return [x != 0 if after == "bool" else x.astype(after)]
        if np.dtype(after).kind not in "iu":
            raise NotImplementedError(f"numbers of dtype {after} are not known here")
        info = np.iinfo(after)
        whole = np.nan_to_num(np.trunc(x), posinf=np.inf, neginf=-np.inf)
        inside = np.clip(whole, float(info.min), np.nextafter(float(info.max), 0.0))
        return [np.where(whole >= float(info.max), info.max, inside.astype(after)).astype(after)]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the identity between floats; with a coefficient of 1 where one of the dtypes is coarser than the other."""
        if not (call.floats and call.makes_float):
            return []
        shape = np.shape(call.inputs[0])
        same = call.ins[0][1] == call.outs[0][1]
        return [Edge(0, 0, reshaped(shape, shape), None if same else np.broadcast_to(1.0, shape))]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the rounding to a coarser dtype, forwards and, of the adjoint, backwards."""
        (x,), before, after = call.inputs, call.ins[0][1], call.outs[0][1]
        e = np.broadcast_to(E[0], np.shape(x))
        if call.floats and call.makes_float:
            if how.u(before) == how.u(after):
                return Errors([e], [None] * len(edges))
            lost = _lost(np.abs(x) + e, after, how) if how.u(after) > how.u(before) else 0.0
            coarser = max(how.u(before), how.u(after))
            return Errors([e + np.where(np.isfinite(x), lost, 0.0)], [np.broadcast_to(coarser, np.shape(x))])
        if call.floats:
            with np.errstate(all="ignore"):
                crossed = (x - e != 0) != (x + e != 0) if after == "bool" else np.trunc(x - e) != np.trunc(x + e)
                crossed = crossed | ((x - e <= 0) & (x + e >= 0)) if after == "bool" else crossed
            return Errors([crossed & (e > 0)], [])
        if call.makes_float:
            size = np.abs(np.asarray(x, np.float64))
            reason = "an integer that rounding may change becomes a float" if np.any(e) else ""
            return Errors([np.where(size * how.u(after) > 0.5, size * how.u(after), 0.0)], [], reason)
        return Errors([np.asarray(e).astype(bool)], [])


def _lost(size: Array, dtype: str, how: Precision) -> Array:
    return how.u(dtype) * size + how.tiny(dtype)


class _Rounded(Primitive):
    """reduce_precision: rounds to fewer bits; JAX rounds tangents and adjoints, too."""

    def evaluate(self, call: Call) -> list[Array]:
        """Return the operand: its rounding is counted among the errors."""
        return [np.asarray(call.inputs[0])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the identity, with a coefficient of 1."""
        shape = np.shape(call.inputs[0])
        return [Edge(0, 0, reshaped(shape, shape), np.broadcast_to(1.0, shape))]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the rounding, and what leaves the smaller range of exponents."""
        (x,), dtype = call.inputs, call.outs[0][1]
        e = np.broadcast_to(E[0], np.shape(x))
        u = 2.0 ** -(call.params["mantissa_bits"] + 1.0)
        bias = 2.0 ** (call.params["exponent_bits"] - 1) - 1.0
        if u <= how.u(dtype) and bias >= -np.log2(how.tiny(dtype)):
            return Errors([e], [None])
        tiny, largest = 2.0 ** (1.0 - bias), 2.0**bias
        size = np.where(np.isfinite(x), np.abs(x) + e, 0.0)
        lost = np.where(size < largest, u * size + (size > 0) * max(tiny, how.tiny(dtype)), np.inf)
        return Errors([e + lost], [np.broadcast_to(u, np.shape(x))])


register(
    _Converted(
        "convert_element_type",
        examples=(
            example("lax.convert_element_type(x, 'bfloat16')", x=real(20)),
            example("lax.convert_element_type(lax.convert_element_type(x, 'float16'), 'float32')", x=real(20)),
            example("lax.convert_element_type(x, 'int32')", x=real(20, at=(3e9, -3e9, 2.5))),
            example("lax.convert_element_type(x, 'uint8')", x=real(20, at=(300.0,))),
            example("lax.convert_element_type(x, 'bool')", x=real(20)),
            example("lax.convert_element_type(n, 'float32')", n=whole(20, low=-(2**31), high=2**31 - 1)),
            example("lax.convert_element_type(n, 'int8')", n=whole(20, low=-1000, high=1000)),
            example("lax.convert_element_type(n, 'uint32')", n=whole(20)),
            example("lax.convert_element_type(b, 'float32')", b=flags(20)),
        ),
    ),
    _Rounded(
        "reduce_precision",
        examples=(
            example("lax.reduce_precision(x, 8, 10)", x=real(20)),
            example("lax.reduce_precision(x, 8, 23)", x=real(20)),
            example("lax.reduce_precision(x, 5, 10)", x=real(20)),
        ),
    ),
)
