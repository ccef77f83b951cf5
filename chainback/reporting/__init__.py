"""What a run found, for those who read it: files, terminal, continuous integration, pages. No JAX.

In reading order:

* `report`: everything that one run found, its tables, files and printed form.
* `shards`: parts of a run, counted apart and merged.
* `comparison`: two reports of the same cases, row by row.
* `ci`: annotations and the step summary of GitHub Actions.
* `pages`: HTML pages, charts and drawings.
"""
