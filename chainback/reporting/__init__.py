"""What a run found, for those who read it: files, terminal, continuous integration, pages. No JAX.

In reading order:

* `columns`, `schema`: every table that is written, with its columns, their kinds and meanings.
* `files`: CSV that reads back bit for bit, JSON, text; folders that can be written.
* `text`: numbers, Markdown tables, the command that runs a case again.
* `report`: everything that one run found, its verdict, files and printed form.
* `shards`: a run's totals as a report; parts of a run, merged; an interrupted run, resumed.
* `comparison`: two reports of the same cases, row by row.
* `ci`: annotations and the step summary of GitHub Actions.
* `pages`: HTML pages, charts and drawings.
"""
