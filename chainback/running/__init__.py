"""Verify: the way of one case from the request to the report.

In reading order:

* `request`: every argument of `verify`; needs no JAX.
* `campaign`: a request planned, run, and reported.
* `schedule`: which cases a run draws, in which batches.
* `batch`: a batch of cases with its reference gradients and error bounds.
* `pipeline`: the stages that run side by side: drawing, compiling, running, judging.
* `activation_sweep`, `function_sweep`: single functions on fixed points.
* `lifting`, `device_truth`: the reference gradients computed on a device, checked by NumPy.
* `host_link`: the process that joins `jax.distributed` on each host.
"""
