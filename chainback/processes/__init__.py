"""Processes that may die without ending the run: a worker, and the hosts of one run. No JAX.

In reading order:

* `child_process`: a process that is sent pickled messages, and answers.
* `worker`: a supervised worker: its steps are watched, and the run goes on after its death.
* `hosts`: one run on several hosts, ending with one report.
"""
