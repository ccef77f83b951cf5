"""A program read in float64: its jaxpr, equation by equation, by the names of its primitives. No JAX.

Calls are entered, loops unrolled, branches taken as the values say, so that what comes out is one straight tape. Of a
function with a custom derivative rule the function is read, and never the rule: the rule is what is on trial.

A jaxpr is told by what it has (`eqns`, `invars`, `outvars`, `constvars`; an equation's `primitive.name`, `params`,
`source_info`; a literal's `val`), so that the same code reads the jaxprs of any version of JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.maps import reshaped
from chainback.operations.primitives.record import TABLE, Call, Edge, Primitive, Structural, is_float
from chainback.operations.primitives.table import FAMILIES
from chainback.truth.tape import Equation, Source, Tape

__all__ = ["MissingRuleError", "read"]

#: Names under which versions of JAX call a jaxpr, and the parameter that holds it.
_CALLS = {
    **dict.fromkeys(
        (
            "jit",
            "pjit",
            "closed_call",
            "core_closed_call",
            "remat",
            "remat2",
            "checkpoint",
            "custom_lin",
            "xla_call",
            "core_call",
        ),
        ("jaxpr", "call_jaxpr"),
    ),
    **dict.fromkeys(
        ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_jvp_call_jaxpr"),
        ("call_jaxpr", "fun_jaxpr", "jaxpr"),
    ),
}
#: Steps of a loop after which it is taken for one that does not end.
_MOST_STEPS = 1_000_000


class MissingRuleError(Exception):
    """A primitive has no record.

    Attributes:
        name: Of the primitive.
        source: Where it was traced from.
    """

    def __init__(self, name: str, source: Source) -> None:
        super().__init__(f"the primitive {name!r} has no rule here; it comes from {source}")
        self.name, self.source = name, source


#: (record, call, results, edges) ↦ the results and edges of a run that rounds.
Disturb = Callable[[Primitive, Call, list[Array], list[Edge]], tuple[list[Array], list[Edge]]]


#: (in a custom call, value, dtype) ↦ what a constant of the program stands for.
Constant = Callable[[bool, float, str], float]


def read(
    closed: Any, arguments: Sequence[Array], disturb: Disturb | None = None, constant: Constant | None = None
) -> Tape:
    """Evaluate a program in float64, and return its tape.

    Args:
        closed: A closed jaxpr.
        arguments: One for each of its input variables; floats of any dtype, taken as exact.
        disturb: What becomes of each equation in a run with rounding errors; by default nothing.
        constant: What a number written in the program stands for; by default itself.

    Raises:
        MissingRuleError: A primitive has no record.
    """
    tape = Tape()
    reader = _Reader(tape, disturb, constant)
    constants = [
        reader.constant(value, var.aval) for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True)
    ]
    tape.inputs = [reader.constant(value, var.aval) for var, value in zip(closed.jaxpr.invars, arguments, strict=True)]
    tape.outputs = reader.run(closed.jaxpr, constants, tape.inputs, ())
    return tape


def _dtype(aval: Any) -> str:
    return str(getattr(aval, "dtype", ""))


def as_array(value: Any, dtype: str) -> Array:
    """Return a value as the interpreter holds it: floats as float64, the rest as it is."""
    found = np.asarray(value)
    return found.astype(np.float64) if is_float(dtype) else found


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """Return a jaxpr and its constants, whether it is closed or not."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


class _Reader:
    def __init__(self, tape: Tape, disturb: Disturb | None, meant: Constant | None) -> None:
        self.tape, self.disturb, self.meant, self.custom = tape, disturb, meant, 0
        self.place = Source()

    def constant(self, value: Any, aval: Any) -> int:
        dtype = _dtype(aval)
        return self.tape.variable(as_array(value, dtype), dtype)

    def run(self, jaxpr: Any, constants: Sequence[int], arguments: Sequence[int], scope: tuple[str, ...]) -> list[int]:
        """Read a jaxpr; return the variables of its results."""
        env: dict[Any, int] = dict(zip(jaxpr.constvars, constants, strict=True)) | dict(
            zip(jaxpr.invars, arguments, strict=True)
        )

        custom = self.custom > 0

        def variable(atom: Any) -> int:
            if hasattr(atom, "val"):
                found = self.constant(atom.val, atom.aval)
                value = self.tape.values[found]
                if self.meant is not None and np.ndim(value) == 0 and is_float(self.tape.dtypes[found]):
                    self.tape.values[found] = np.asarray(self.meant(custom, float(value), self.tape.dtypes[found]))
                self.tape.literals.append((found, custom))
                return found
            return env[atom]

        for eqn in jaxpr.eqns:
            ins = [variable(atom) for atom in eqn.invars]
            outs = self.equation(eqn, ins, scope)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [variable(atom) for atom in jaxpr.outvars]

    def call(self, jaxpr: Any, arguments: Sequence[int], scope: tuple[str, ...]) -> list[int]:
        inner, consts = open_jaxpr(jaxpr)
        constants = [self.constant(value, var.aval) for var, value in zip(inner.constvars, consts, strict=True)]
        return self.run(inner, constants, arguments, scope)

    def equation(self, eqn: Any, ins: list[int], scope: tuple[str, ...]) -> list[int]:
        name, params = eqn.primitive.name, eqn.params
        source = self.source(eqn, scope)
        if name in _CALLS:
            jaxpr = next(params[key] for key in _CALLS[name] if key in params)
            label = str(
                params.get("name") or (getattr(open_jaxpr(jaxpr)[0], "debug_info", None) and _called(jaxpr)) or name
            )
            custom, outside = name.startswith("custom_"), self.place
            self.custom, self.place = self.custom + custom, source
            outs = self.call(jaxpr, ins, (*scope, label))
            self.custom, self.place = self.custom - custom, outside
            if custom:
                inside = replace(source, scope=(*scope, label))
                self.tape.calls.append((eqn, tuple(ins), tuple(outs), inside))
            return outs
        control: dict[str, Callable[..., list[int]]] = {"scan": self.scan, "while": self.loop, "cond": self.branch}
        if name in control:
            return control[name](eqn, ins, scope)
        if name not in TABLE:
            raise MissingRuleError(name, source)
        avals = [(tuple(var.aval.shape), _dtype(var.aval)) for var in eqn.outvars]
        return self.apply(TABLE[name], params, ins, avals, source)

    def source(self, eqn: Any, scope: tuple[str, ...]) -> Source:
        """Return where an equation was traced from: of what JAX had traced before, the call."""
        found = source_of(eqn, scope)
        return found if found.file else replace(self.place, scope=scope)

    def apply(
        self, record: Primitive, params: dict[str, Any], ins: Sequence[int], avals: Sequence[Any], source: Source
    ) -> list[int]:
        """Add one equation."""
        tape = self.tape
        inputs = tuple(tape.values[k] for k in ins)
        call = Call(
            inputs, params, tuple((np.shape(x), tape.dtypes[k]) for x, k in zip(inputs, ins, strict=True)), tuple(avals)
        )
        results = [np.asarray(value) for value in record.evaluate(call)]
        edges = [edge for edge in record.edges(call, results) if is_float(tape.dtypes[ins[edge.operand]])]
        if self.disturb is not None:
            results, edges = self.disturb(record, call, results, edges)
        outs = [tape.variable(value, dtype) for value, (_, dtype) in zip(results, avals, strict=True)]
        tape.equations.append(Equation(record.name, record, call, tuple(ins), tuple(outs), tuple(edges), source))
        return outs

    def decide(self, variable: int, what: str) -> Array:
        """Return the value of a variable on which the course of the program depends."""
        self.tape.decisions.append((variable, what))
        return self.tape.values[variable]

    def branch(self, eqn: Any, ins: list[int], scope: tuple[str, ...]) -> list[int]:
        branches = eqn.params["branches"]
        which = int(np.clip(int(self.decide(ins[0], f"cond at {self.source(eqn, scope)}")), 0, len(branches) - 1))
        return self.call(branches[which], ins[1:], scope)

    def loop(self, eqn: Any, ins: list[int], scope: tuple[str, ...]) -> list[int]:
        p = eqn.params
        m, n = p["cond_nconsts"], p["body_nconsts"]
        for_condition, for_body, carry = ins[:m], ins[m : m + n], list(ins[m + n :])
        what = f"while at {self.source(eqn, scope)}"
        for _ in range(_MOST_STEPS):
            (condition,) = self.call(p["cond_jaxpr"], [*for_condition, *carry], scope)
            if not bool(np.all(self.decide(condition, what))):
                return carry
            carry = self.call(p["body_jaxpr"], [*for_body, *carry], scope)
        raise RuntimeError(f"{what} did not end within {_MOST_STEPS:,} steps")

    def scan(self, eqn: Any, ins: list[int], scope: tuple[str, ...]) -> list[int]:
        p, source = eqn.params, self.source(eqn, scope)
        constants, carry = ins[: p["num_consts"]], list(ins[p["num_consts"] : p["num_consts"] + p["num_carry"]])
        rows = [self.unstack(k, p["length"], source) for k in ins[p["num_consts"] + p["num_carry"] :]]
        stacked: list[list[int]] = []
        steps = range(p["length"])
        for t in reversed(steps) if p["reverse"] else steps:
            found = self.call(p["jaxpr"], [*constants, *carry, *(row[t] for row in rows)], scope)
            carry = found[: p["num_carry"]]
            stacked.append(found[p["num_carry"] :])
        if p["reverse"]:
            stacked.reverse()
        shapes = [(tuple(var.aval.shape), _dtype(var.aval)) for var in eqn.outvars[p["num_carry"] :]]
        whole = [self.stack([row[k] for row in stacked], aval, source) for k, aval in enumerate(shapes)]
        return [*carry, *whole]

    def unstack(self, variable: int, length: int, source: Source) -> list[int]:
        shape, dtype = self.tape.values[variable].shape[1:], self.tape.dtypes[variable]
        return self.apply(_UNSTACK, {}, [variable], [(shape, dtype)] * length, source)

    def stack(self, variables: Sequence[int], aval: tuple[tuple[int, ...], str], source: Source) -> int:
        if not variables:
            return self.tape.variable(np.zeros(aval[0], np.float64 if is_float(aval[1]) else aval[1]), aval[1])
        return self.apply(_STACK, {}, variables, [aval], source)[0]


def _called(jaxpr: Any) -> str:
    info = getattr(open_jaxpr(jaxpr)[0], "debug_info", None)
    return str(getattr(info, "func_name", "") or str(getattr(info, "func_src_info", "")).partition(" ")[0])


#: Folders whose frames are not the user's.
_OF_JAX = (
    "/jax/_src/",
    "/jax/experimental/",
    "/jax/numpy/",
    "/jax/scipy/",
    "/jax/nn/",
    "/jax/lax/",
    "/jax/interpreters/",
    "/jax/api_util",
    "/jax/tree_util",
    "/chainback/running/",
)


def source_of(eqn: Any, scope: tuple[str, ...]) -> Source:
    """Return the user's file and line from which an equation was traced."""
    traceback = getattr(getattr(eqn, "source_info", None), "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        if not any(part in frame.file_name for part in _OF_JAX):
            return Source(frame.file_name, frame.line_num, frame.function_name, scope)
    return Source(scope=scope)


def _unstacked_maps(call: Call) -> list[tuple[int, int, Any]]:
    return [(0, t, _RowMap(t, np.shape(call.inputs[0]))) for t in range(len(call.outs))]


class _RowMap:
    roundings = 0

    def __init__(self, row: int, shape: tuple[int, ...]) -> None:
        self.row, self.shape = row, shape

    def push(self, c: Array | None, dx: Array) -> Array:
        return dx[self.row]

    def pull(self, c: Array | None, dy: Array) -> Array:
        found = np.zeros(self.shape)
        found[self.row] = dy
        return found


class _StackMap:
    roundings = 0

    def __init__(self, row: int, shape: tuple[int, ...]) -> None:
        self.row, self.shape = row, shape

    def push(self, c: Array | None, dx: Array) -> Array:
        found = np.zeros(self.shape)
        found[self.row] = dx
        return found

    def pull(self, c: Array | None, dy: Array) -> Array:
        return dy[self.row]


_UNSTACK: Primitive = Structural("unstack rows", move=lambda arrays, call: list(arrays[0]), maps=_unstacked_maps)
_STACK: Primitive = Structural(
    "stack rows",
    move=lambda arrays, call: np.stack(arrays),
    maps=lambda call: [(k, 0, _StackMap(k, call.outs[0][0])) for k in range(len(call.inputs))],
)
_ = (Edge, reshaped, FAMILIES)
