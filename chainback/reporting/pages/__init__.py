"""Pages and pictures of a report, a comparison or a history. They need no network. No JAX.

In reading order:

* `sections`: what a page is made of: tables, and perhaps charts.
* `report_sections`, `comparison_sections`: what a report says, and what changed between two.
* `charts`, `panels`: the charts, by plotly.
* `html`, `stylesheet`: sections as one HTML file.
* `drawings`: pictures of matrices, histories and the lecture, as HTML, SVG or PNG.
* `show`: a written report, shown again.
"""
