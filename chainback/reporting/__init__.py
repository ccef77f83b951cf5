"""What a run found, for those who read it: files, terminal, continuous integration, pages. No JAX.

In reading order:

* `columns`, `schema`: every table that is written, with its columns, their kinds and meanings.
* `files`: CSV that reads back bit for bit, JSON, text; folders that can be written.
* `text`, `rows`: numbers, Markdown and commands in words; rows of tables, grouped and judged.
* `sections`: what every printed form is made of: tables, sentences, test cases, part by part.
* `terminal`, `ci`: what is printed; GitHub Actions and JUnit.
* `report`: everything that one run found, its verdict and its folder.
* `checks`: what a check of one function found.
* `shards`: a run's totals as a report; parts of a run, merged; an interrupted run, resumed.
* `reading`, `row_outcomes`, `comparison`: two reports of the same cases, row by row.
* `pages`: HTML pages, charts and drawings.
"""
