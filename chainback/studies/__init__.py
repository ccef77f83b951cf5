"""How good the gate is, and how fast.

In reading order:

* `planted_faults`: engines that are right but for one thing, by name; `faulty_gradients`: how each is made.
* `audit`: which of them the gate catches.
* `sensitivity`: how small a fault the gate still sees.
* `other_checkers`: `check_grads` and `gradcheck`; `checker_comparison`: the gate beside them, on the same faults.
* `timing`, `bench_results`, `benchmarks`: how fast, each figure beside its target.
* `training`: gradient descent with any engine inside one jitted program.
* `quantecon`: the lecture from which chainback grew.
"""
