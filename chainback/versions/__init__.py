"""The same cases under other versions of JAX, each in an environment of its own. No JAX in this process.

In reading order:

* `environments`: an environment for one version, and a job run in it, cached by all that decides its result.
* `upgrade`: what an upgrade changes, and which release changed it first (bisection).
* `history`: release after release.
* `baseline`: a report that is kept, so that later runs can be compared with it.
"""
