"""The float64 answer to a problem, and the bound within which a right answer lies. No JAX, and nothing of the engines.

Differentiating every layer of a chain at once gives (I − L) dx = D dp. Its forward substitution is forward-mode AD, its back
substitution is reverse-mode AD, and the same solve with |L| in place of L bounds what rounding does to either.

In reading order:

* `chain_gradient`: states, slopes, adjoints and gradients of a chain, by explicit loops and closed forms.
* `chain_forward_error`: how far each argument, state and slope of a chain may lie from the truth.
* `chain_bound`: the bound of each gradient component; its docstring derives it.
"""
