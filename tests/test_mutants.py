"""Mutants of the truth, the bounds and the judge: a fixed sample, each killed by the battery of `battery.py`."""

import pytest
from battery import originals, survives


def test_the_original_survives() -> None:
    assert survives(originals())


#: (module, what stands there, what stands there instead): each must be found once, and be killed.
MUTANTS = (
    ("oracle", "residual = states[-1] - targets", "residual = states[-1] + targets"),
    (
        "oracle",
        "adjoint = matvec(np.swapaxes(weights[i], 0, 1), gradients[i])",
        "adjoint = matvec(weights[i], gradients[i])",
    ),
    (
        "oracle",
        "np.multiply(slopes[i], adjoint, out=gradients[i])",
        "np.multiply(slopes[i], residual, out=gradients[i])",
    ),
    ("oracle", "adjoint = matvec(np.swapaxes(couplings[i], 0, 1), adjoint)", "adjoint = matvec(couplings[i], adjoint)"),
    (
        "oracle",
        "slopes[layers] = activation(name).slope(arguments[layers])",
        "slopes[layers] = activation(name).slope(states[layers])",
    ),
    ("bounds", "affine = gamma(width + 1, u) + q", "affine = gamma(width, u) + q"),
    ("bounds", "affine = gamma(width + 1, u) + q", "affine = gamma(width + 1, u)"),
    ("bounds", "E_z[i] += lost_biases[i] + (2 * width + 2) * tiny", "E_z[i] += lost_biases[i]"),
    ("bounds", "E_z[i] += lost_biases[i] + (2 * width + 2) * tiny", "E_z[i] += (2 * width + 2) * tiny"),
    ("bounds", "exact = exact & (models[i].second_max == 0.0)", "exact = exact | (models[i].second_max == 0.0)"),
    ("bounds", "exact = exact & (locals_[4, i] == 0.0)", "exact = exact"),
    ("bounds", "(total * u <= granule)", "(total * u <= 2 * granule)"),
    ("bounds", "return (granule >= tiny) &", "return (granule >= 0) &"),
    (
        "bounds",
        "E_δ = (curvature + 0.5 * third * E_z) * E_z + slope_rounding",
        "E_δ = curvature * E_z + slope_rounding",
    ),
    ("bounds", "E_x = (slope + 0.5 * second * E_z) * E_z", "E_x = slope * E_z"),
    ("bounds", "curvature = np.where(np.abs(z - crease) <= E_z, second, curvature)", "pass"),
    (
        "bounds",
        "near = (np.abs(z - kink) <= E_z) & ((E_z > 0.0) | (not model.settled))",
        "near = np.abs(z - kink) <= E_z",
    ),
    ("bounds", "E_δ = np.where(near, jump, E_δ)", "pass"),
    ("bounds", "E_δ = np.minimum(E_δ, jump)", "pass"),
    ("bounds", "+ model.slope_rounding * u * model.lipschitz", ""),
    ("bounds", "E_g[i] = slopes[i] * E + E_δ[i] * (Λ + E)", "E_g[i] = slopes[i] * E + E_δ[i] * Λ"),
    ("bounds", "E_g[i] += u * (G + E_g[i]) + rule[i]", "E_g[i] += u * (G + E_g[i])"),
    ("bounds", "E += (gamma(width, u) + q) * (Λ + E) + 2 * width * tiny\n        if any_lost", "if any_lost"),
    (
        "bounds",
        "floor = 8.0 * depth * width**2 * total * ends * lost",
        "floor = 8.0 * depth * width * total * ends * lost",
    ),
    ("bounds", "total, peak = _products(norms[1:])", "total, peak = _products(norms)"),
    ("bounds", "(reached < arithmetic.largest) & ~toothless", "(reached < arithmetic.largest)"),
    ("bounds", "return np.minimum(every, peak**2), peak", "return every, peak"),
    ("bounds", "decided &= forward < arithmetic.largest", "pass"),
    ("bounds", "decided = spread.decided & np.isfinite(bounds)", "decided = np.isfinite(bounds)"),
    ("judgement", "np.abs(deviation) <= bounds.bound)", "np.abs(deviation) < bounds.bound)"),
    ("judgement", "np.abs(deviation) <= bounds.bound)", "~(np.abs(deviation) > bounds.bound))"),
    ("judgement", "np.abs(deviation) <= bounds.bound)", "deviation <= bounds.bound)"),
    ("judgement", "return decided & False if self.malformed", "return decided if self.malformed"),
    ("judgement", "return decided | True if self.malformed", "return decided if self.malformed"),
    ("judgement", "if array.dtype != asked.dtype:", "if False:"),
    ("judgement", "if array.shape != tuple(asked.shape):", "if False:"),
    ("judgement", "if Verdict.REJECTED in seen:", "if seen == {Verdict.REJECTED}:"),
    ("judgement", "seen = set(verdicts) - {Verdict.NOT_RUN}", "seen = set(verdicts)"),
)


@pytest.mark.parametrize(("module", "there", "instead"), MUTANTS)
def test_a_mutant_is_killed(module: str, there: str, instead: str) -> None:
    sources = originals()
    assert sources[module].count(there) == 1, "the list of mutants has rotted"
    assert not survives(sources | {module: sources[module].replace(there, instead)})
