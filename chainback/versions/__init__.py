"""The same cases under other versions of JAX, each in an environment of its own. No JAX in this process.

In reading order:

* `packages`: uv and the index: which versions there are, which Pythons, what can be installed together.
* `source`: chainback's own source, as other environments run it, and the digest of what decides a result.
* `environments`: an environment for each version, a request run in it, and its result, kept by all that decides it.
* `study`: a request under several versions, each compared with the first or with the one before.
* `upgrade`: what an upgrade changes: a study against the first.
* `history`: what release after release changed: a study against the one before.
* `bisection`: which release changed something first.
* `baseline`: a report that is kept, so that later runs can be compared with it.
"""
