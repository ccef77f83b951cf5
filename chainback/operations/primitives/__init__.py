"""Primitives of JAX: for each its value, its partial derivatives as linear maps, and how it may round. No JAX.

A jaxpr is a list of equations, each the application of one primitive. `record.TABLE` has a record for each, by name.

In reading order:

* `maps`: linear maps with coefficients, forwards (push) and backwards (pull).
* `record`: what a record is; `elementwise`, `lines`, `candidates`, `calls`: kinds of primitives, which do the work.
* `examples`: inputs on which a record is tested.
* `arithmetic`, `functions`, `special_functions`, `incomplete`, `generic`: functions of one, two or three numbers.
* `discrete`, `conversions`, `random_keys`: comparisons, logic, integers, bits, random numbers.
* `structural`, `indexing`, `places`, `choices`: what moves, repeats, replaces or selects components.
* `sums`, `extremes`, `sorting`: reductions, cumulative ones, windows, orders.
* `products`, `convolutions`: what is bilinear in two operands.
* `table`: all of them, imported.
"""
