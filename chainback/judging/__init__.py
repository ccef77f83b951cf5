"""Accept, reject, or leave undecided; measure; count. No JAX: a judge never runs an engine.

In reading order:

* `judgement`: the one place where a verdict is decided: error <= bound must be true.
* `pointwise`: the same for sweeps of one function over many points.
* `blocks`: the same for one array of a program, by the derived bound or the sampled one.
* `statistics`: histograms, exact sums and means that stream and merge.
* `measurement`: what is measured of a batch and of each result.
* `tally`: judgements counted into rows; rejections.
* `run_totals`: all that a run counted, merged over shards.
"""
