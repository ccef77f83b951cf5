"""Primitives of JAX: for each its value, its partial derivatives as linear maps, and how it may round. No JAX.

A jaxpr is a list of equations, each the application of one primitive. `record.TABLE` has a record for each, by name.

In reading order:

* `maps`: linear maps with coefficients, forwards (push) and backwards (pull).
* `record`: what a record is; the kinds of primitives, which do the work.
* `elementwise`: arithmetic and the functions of one, two or three numbers.
* `discrete`: comparisons, logic, integers, bits, random numbers: no derivative.
* `structural`: what moves, repeats, replaces or leaves out components; `indices`: which ones a gather or a scatter takes.
* `reductions`: sums, products, maxima, cumulative ones, sorting.
* `products`: dot_general and convolutions.
* `table`: all of them, imported.
"""
