"""Engines: ways to compute the gradient of a chain in JAX. They share no code with the truth.

All solve one system, (I − L) dx = D dp: forward-mode AD is forward substitution on it, reverse-mode AD is back substitution,
and the triangular method writes the system down and solves it. The equation is derived in `triangular`.

In reading order:

* `triangular`: the extended Jacobian I − L, its solvers, and the gradient by back substitution.
* `forward`, `reverse`: forward- and reverse-mode AD.
* `networks`: the programs of a chain that AD differentiates: unrolled, scanned, rematerialised.
* `closed_forms`: each activation's value and slope without AD, for the triangular method.
* `scan_steps`: how the triangular method's scans are kept to one kernel.
* `engine`: an engine, its limits, and its compiled form.
* `registry`: the table of engines.
* `user_engines`: engines of users, imported and called; `devices`: where engines run, and under which arithmetic.
"""
