"""Ways to compute the gradient of a chain in JAX. They share nothing with the truth.

In reading order:

* `engine`: what an engine is; `limits`: why one may decline a batch.
* `networks`: how a chain is written under JAX: unrolled, scanned, rematerialised.
* `forward`, `reverse`: forward- and reverse-mode AD.
* `closed_forms`: each activation's value and slope by formulas of our own, without a rule of JAX's.
* `triangular`: the triangular method, (I − L) dx = D dp written down and solved.
* `registry`: the table of engines, from which commands, campaigns, properties and tests take them.
* `user_engines`: engines of the user's own, imported and called; `devices`: where engines run, and under which arithmetic.
"""
