"""Elementary operations: for each its value, its partial derivatives, how it may round, and where it is tested. No JAX.

An activation is an elementary function with a bound on its curvature; a swept function is one with a table of points.

In reading order:

* `arithmetic`: what one rounding costs, u, and one underflow, in float32, TF32 and bfloat16.
* `activations`: each activation's float64 value and slope, and its rounding model.
* `reference`: the functions of mathematics, the points they are judged at, and their values there to float64.
* `functions`: JAX's implementations of those, how each is called, and how it may round.
* `known_faults`: what is wrong with single functions in released versions of JAX.
"""
