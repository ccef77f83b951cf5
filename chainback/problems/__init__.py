"""What is asked. No JAX, and nothing about engines or verdicts.

In reading order:

* `chain`: a chain x_i = h_i(W_i x_{i−1} + b_i), and a case: a chain, an input and a target.
* `ensembles`: named, versioned families of random cases; a case id alone rebuilds its case under any JAX.
* `strategies`: the same for Hypothesis, for anybody's tests.
"""
