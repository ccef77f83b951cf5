"""One case, looked into.

In reading order:

* `replay`: one case again, layer by layer, and shrunk to the smallest chain that still fails.
* `reproducer`: a failing case as a script that needs JAX and NumPy only.
* `explanation`: the extended Jacobian of one small chain, and both substitutions step by step.
"""
