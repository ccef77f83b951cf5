"""One case, looked into.

In reading order:

* `layers`: one case layer by layer, each quantity beside its reference and its bound.
* `replay`: one case run again, by every engine and in every way.
* `shrinking`: the smallest chain on which a failure persists.
* `reproducer`: a failing case as a script that needs JAX and NumPy only.
* `explanation`: the extended Jacobian of one small chain, and both substitutions step by step.
"""
