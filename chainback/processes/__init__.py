"""Processes that may die without ending the run: a worker, and the hosts of one run. No JAX, and no campaign.

In reading order:

* `child_process`: a process that runs a function, and exchanges pickled objects with its parent.
* `watch`: what a run says to its supervisor: steps, progress, checkpoints; and a request to stop.
* `worker`: a supervised worker, restarted from its last checkpoint until it returns a result.
* `hosts`: processes on several hosts that join, and exchange bytes.
"""
