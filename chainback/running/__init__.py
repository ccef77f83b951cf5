"""Verify: request → schedule → problem → truth → engine → judge → measure → tally → report → file, one room a step.

In reading order:

* `request`: every argument of `verify`; `verify`: a request run here, in a worker, or over hosts. Both need no JAX.
* `campaign`: a request run in this process: planned, run, and reported.
* `schedule`: what a run consists of; `shapes`: which depths, widths and batch sizes it takes.
* `batch`: a batch of cases with its reference gradients and error bounds.
* `programs`: the compiled engines of a run.
* `pipeline`: the stages and their threads: compile, make batches, run the engines, judge.
* `batch_judge`: judges the results of a batch and counts them, without JAX.
* `one_by_one`: cases, activations and functions that are run by themselves.
* `activation_sweep`, `function_sweep`: single functions on fixed points.
* `device_truth`: reference gradients computed on a device; `lifting`: NumPy code run by JAX.
* `device_check`: reference gradients of another origin judged by NumPy's.
* `check`: a function judged; `tracing`: from a function to a program; `culprits`: which rule is wrong.
* `supervised`: a request run in a worker that may die.
* `distributed`: a request run over several hosts; `host_link`: the process that joins `jax.distributed` on each.
"""
