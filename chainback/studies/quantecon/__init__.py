"""The lecture from which chainback grew, start to end, beside the figures that it prints.

In reading order:

* `figures`: the figures that it prints, and when ours agree with them.
* `problems`: what it trains: chains drawn by its keys, its grid, its two targets.
* `check`: its check of the derivatives, on one chain of three layers.
* `examples`: its two examples; `depth`: how deep a network should be.
* `timing`: its loop, and the same descent as one program.
* `lecture`: all of it.
"""
