"""Elementary operations: value, partial derivatives, how each may round, and where it is tested. No JAX.

One family of records describes every elementary function: its domain, its special points and its rounding model (an error
of at most c u σ). An activation is such a record with a bound on its curvature, because chains push errors through it; a
swept function is one whose reference is stored at fixed points.

In reading order:

* `arithmetic`: what one rounding costs, u, and one underflow, in float32, TF32 and bfloat16.
* `elementwise`: the record types: Domain, RoundingModel, ElementaryFunction, Activation, SweptFunction, JaxFunction.
* `activations`: the table of activations: float64 value and slope, curvature, rounding model.
* `functions`: the table of swept functions: domain, kinks and special points.
* `rounding_models`: how the value and the derivatives of each swept function may round.
* `reference`: the points that swept functions are judged at, and their stored truth there.
* `jax_functions`: the table of JAX's functions: path, which swept function each computes, how it is called.
* `known_faults`: what is wrong with single functions in released versions of JAX.
* `primitives`: what a jaxpr is made of: for each primitive its value, its linear maps, how it may round.
"""
