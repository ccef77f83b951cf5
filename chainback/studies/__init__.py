"""How good the gate is, and how fast.

In reading order:

* `audit`: faults planted in engines, and which of them the gate catches.
* `other_checkers`: `check_grads` and `gradcheck` on the same faults.
* `timing`, `bench_results`, `benchmarks`: how fast, each figure beside its target.
* `training`: gradient descent with any engine inside one jitted program.
* `quantecon`: the lecture from which chainback grew.
"""
