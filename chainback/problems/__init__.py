"""Problems: the gradients to compute, as plain data. No JAX, and nothing about engines or verdicts.

A chain is x_i = h_i(W_i x_{i−1} + b_i) for i = 1 … N; a case asks for the gradient of ½‖y − x_N‖² in every weight and bias.
Random cases come from ensembles: the id of a case alone rebuilds it, bit for bit, under any JAX.

In reading order:

* `chain`: a chain, and a case (a chain, an input and a target), or batches of them.
* `case_id`: the id of a random case, and the ids of a batch.
* `random_streams`: the random numbers of a batch, from NumPy's PCG64.
* `families`: the families of random chains, a function each.
* `ensembles`: the table of ensembles (named, versioned families), and how a batch is drawn and a case rebuilt.
* `program`: a traced JAX function, its arguments and its seeds.
* `strategies`: Hypothesis strategies for chains and cases, for any test suite.
"""
