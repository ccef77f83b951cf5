"""A failing case as a script that needs JAX and NumPy only, ready for a bug report."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainback.engines.registry import ENGINES
from chainback.environment import version
from chainback.judging.judgement import Component, Judgement, component_at
from chainback.problems.chain import Case

__all__ = ["script"]

#: For each activation: JAX's function; the closed form of the triangular engines (value, slope) in float32 JAX; and the
#: reference (value, slope) in float64 NumPy. `e` is exp(−|z|).
_FORMULAS = {
    "identity": ("lambda z: z", "z, jnp.ones_like(z)", "z, np.ones_like(z)"),
    "sigmoid": (
        "jax.nn.sigmoid",
        "jnp.where(z >= 0, 1.0, e) / (1.0 + e), e / ((1.0 + e) * (1.0 + e))",
        "np.where(z >= 0, 1.0, e) / (1.0 + e), e / (1.0 + e) ** 2",
    ),
    "tanh": (
        "jnp.tanh",
        "jnp.tanh(z), 4.0 * (d := jnp.exp(-2.0 * jnp.abs(z))) / ((1.0 + d) * (1.0 + d))",
        "np.tanh(z), 1.0 / np.cosh(z) ** 2",
    ),
    "relu": (
        "jax.nn.relu",
        "jnp.maximum(z, 0.0), jnp.where(z > 0, 1.0, 0.0)",
        "np.maximum(z, 0.0), np.where(z > 0, 1.0, 0.0)",
    ),
    "leaky_relu": (
        "jax.nn.leaky_relu",
        "jnp.where(z >= 0, z, 0.01 * z), jnp.where(z >= 0, 1.0, 0.01)",
        "np.where(z >= 0, z, 0.01 * z), np.where(z >= 0, 1.0, 0.01)",
    ),
    "elu": (
        "jax.nn.elu",
        "jnp.where(z > 0, z, jnp.expm1(jnp.minimum(z, 0.0))), jnp.exp(jnp.minimum(z, 0.0))",
        "np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))), np.exp(np.minimum(z, 0.0))",
    ),
    "softplus": (
        "jax.nn.softplus",
        "jnp.maximum(z, 0.0) + jnp.log1p(e), jnp.where(z >= 0, 1.0, e) / (1.0 + e)",
        "np.maximum(z, 0.0) + np.log1p(e), np.where(z >= 0, 1.0, e) / (1.0 + e)",
    ),
    "silu": (
        "jax.nn.silu",
        "z * (s := jnp.where(z >= 0, 1.0, e) / (1.0 + e)), s + z * (e / ((1.0 + e) * (1.0 + e)))",
        "z * (s := np.where(z >= 0, 1.0, e) / (1.0 + e)), s + z * e / (1.0 + e) ** 2",
    ),
    "gelu": (
        "lambda z: jax.nn.gelu(z, approximate=False)",
        "z * (c := 0.5 * lax.erfc(z * -math.sqrt(0.5))), c + z * jnp.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)",
        "z * (c := 0.5 * np.vectorize(math.erfc)(z * -math.sqrt(0.5))), "
        "c + z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)",
    ),
    "sin": ("jnp.sin", "jnp.sin(z), jnp.cos(z)", "np.sin(z), np.cos(z)"),
}

_PROGRAMS = {
    "unrolled": """
def predict(weights, biases, x):
    for layer, name in enumerate(activations):
        x = functions[name](weights[layer] @ x + biases[layer])
    return x
""",
    "scan": """
def layer(x, parameters):
    weight, bias, code = parameters
    return lax.switch(code, list(functions.values()), weight @ x + bias), None

def predict(weights, biases, x):
    codes = jnp.array([list(functions).index(name) for name in activations])
    return lax.scan({layer}, x, (weights, biases, codes))[0]
""",
}

_SOLVERS = {
    "dense": """
    n = slopes.size
    matrix = jnp.eye(n, dtype=np.float32)
    for i in range(1, len(activations)):
        matrix = matrix.at[i * width : (i + 1) * width, (i - 1) * width : i * width].set(-couplings[i])
    adjoints = jax.scipy.linalg.solve_triangular(matrix, seed.reshape(n), lower=True, trans=1, unit_diagonal=True)
    adjoints = adjoints.reshape(slopes.shape)
""",
    "substitution": """
    adjoints = [seed[-1]]
    for coupling in couplings[:0:-1]:
        adjoints.append(coupling.T @ adjoints[-1])
    adjoints = jnp.stack(adjoints[::-1])
""",
    "parallel": """
    transposed = jnp.swapaxes(jnp.roll(couplings, -1, axis=0), 1, 2)[::-1]
    compose = lambda first, second: (second[0] @ first[0], second[0] @ first[1] + second[1])
    adjoints = lax.associative_scan(compose, (transposed, seed[::-1, :, None]))[1][::-1, :, 0]
""",
}

_TRIANGULAR = """
def gradient(weights, biases):
    states, slopes = [x], []
    for layer, name in enumerate(activations):
        h, slope = closed_form[name](weights[layer] @ states[-1] + biases[layer])
        states.append(h)
        slopes.append(slope)
    slopes, width = jnp.stack(slopes), len(x)
    couplings = slopes[:, :, None] * weights
    seed = jnp.zeros_like(slopes).at[-1].set(states[-1] - y)
{solver}
    dbiases = slopes * adjoints
    return dbiases[:, :, None] * jnp.stack(states[:-1])[:, None, :], dbiases
"""

_TRUTH = """
# The truth, in float64 NumPy.
states, slopes = [np.float64(x)], []
for layer, name in enumerate(activations):
    h, slope = true[name](np.float64(weights[layer]) @ states[-1] + biases[layer])
    states.append(h)
    slopes.append(slope)
adjoint = states[-1] - y
for layer in reversed(range(len(activations))):
    expected_dbiases = slopes[layer] * adjoint
    if layer == {layer}:
        expected = {expected}
    adjoint = np.float64(weights[layer]).T @ expected_dbiases
"""


def _literal(name: str, array: Any) -> str:
    body = np.array2string(
        np.asarray(array, np.float64),
        separator=", ",
        threshold=10**9,
        max_line_width=110,
        formatter={"float_kind": lambda value: repr(float(value))},
    )
    return f"{name} = np.array({body}, np.float32)"


def _table(name: str, place: int, used: list[str]) -> list[str]:
    """Return the source of a dictionary from activation to JAX function (0), closed form (1) or truth (2)."""
    sources = {name: _FORMULAS[name][place] if name in _FORMULAS else "...  # your own activation" for name in used}
    if place == 0:
        return [f"{name} = {{", *(f'    "{key}": {source},' for key, source in sources.items()), "}"]
    library, lines = ("jnp", "np")[place - 1], []
    for key, source in sources.items():
        lines += ["", f"def {name}_{key}(z):"]
        if "e)" in source or "e /" in source:
            lines.append(f"    e = {library}.exp(-{library}.abs(z))")
        lines.append(f"    return {source}")
    entries = ", ".join(f'"{key}": {name}_{key}' for key in sources)
    return [*lines, "", f"{name} = {{{entries}}}"]


def script(engine: str, case: Case, judgement: Judgement | None, case_id: str, execution: str = "batched") -> str:
    """Return a script that repeats what an engine does on a case, and compares one component with the truth.

    Args:
        engine: A name of `ENGINES`, or `package.module:name`.
        case: The case, without a batch axis.
        judgement: Of the engine's result; None if it returned none.
        case_id: Where the case came from.
        execution: How the engine was run: "eager" is op by op, any other jitted.
    """
    chain = case.chain
    used = list(dict.fromkeys(chain.activations))
    lines = [
        f"# {engine} with jax {version('jax')}, jaxlib {version('jaxlib')}, numpy {version('numpy')}.",
        f"# Found by chainback {version('chainback')} on {case_id}.",
        "import math",
        "import jax, jax.numpy as jnp, numpy as np",
        "from jax import lax",
        "",
        f"activations = {chain.activations!r}",
        _literal("weights", chain.weights),
        _literal("biases", chain.biases),
        _literal("x", case.inputs),
        _literal("y", case.targets),
    ]
    lines += _gradient_lines(engine, used, execution)
    lines += ["", 'print("jax", jax.__version__, jax.devices()[0].device_kind)']
    if judgement is None or judgement.malformed or (wrong := _first_wrong(judgement)) is None:
        return "\n".join([*lines, "print(dweights, dbiases)"]) + "\n"
    component, place = wrong
    lines += _table("true", 2, used)
    block, (layer, *index) = judgement.envelope.locate(place)
    inner = ", ".join(map(str, index))
    if block.name == "dW":
        got, expected = f"dweights[{layer}, {inner}]", f"np.outer(expected_dbiases, states[layer])[{inner}]"
    else:
        got, expected = f"dbiases[{layer}, {inner}]", f"expected_dbiases[{inner}]"
    lines += [_TRUTH.format(layer=layer, expected=expected).rstrip()]
    lines += [
        "",
        f"got = float({got})  # {component.name}",
        f"bound = {component.bound!r}  # the most that rounding can do to this component, in any order",
        'print(f"got {got:.9g}, expected {float(expected):.9g} +- {bound:.2g}")',
        'print("right" if abs(got - expected) <= bound else "WRONG")',
    ]
    return "\n".join(lines) + "\n"


def _first_wrong(judgement: Judgement) -> tuple[Component, int] | None:
    wrong = np.flatnonzero(~judgement.accepted_components[0])
    if not wrong.size:
        return None
    place = int(wrong[0])
    return component_at(judgement.envelope, judgement.got, 0, place), place


def _gradient_lines(engine: str, used: list[str], execution: str) -> list[str]:
    if engine not in ENGINES:
        module, _, name = engine.partition(":")
        return [
            f"from {module} import {name} as engine",
            "",
            "dweights, dbiases = engine(weights[None], biases[None], activations, x[None], y[None])",
            "dweights, dbiases = np.asarray(dweights)[0], np.asarray(dbiases)[0]",
        ]
    method, _, kind = engine.partition("-")
    if method == "triangular":
        lines = _table("closed_form", 1, used)
        lines.append(_TRIANGULAR.format(solver=_SOLVERS[kind].strip("\n")).rstrip())
    else:
        lines = _table("functions", 0, used)
        layer = "jax.checkpoint(layer)" if kind == "remat" else "layer"
        program = _PROGRAMS["unrolled" if kind == "unrolled" else "scan"].replace("{layer}", layer)
        transform = "jax.jacfwd" if method == "forward" else "jax.grad"
        loss = "lambda w, b: 0.5 * jnp.sum((predict(w, b, x) - y) ** 2)"
        lines += [program.rstrip(), "", f"gradient = {transform}({loss}, argnums=(0, 1))"]
    if execution == "eager":
        return [*lines, "with jax.disable_jit():", "    dweights, dbiases = gradient(weights, biases)"]
    return [*lines, "dweights, dbiases = jax.jit(gradient)(weights, biases)"]
