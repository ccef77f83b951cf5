"""Pages and pictures of a report, a comparison or a history. They need no network. No JAX.

In reading order:

* `html`, with page.html, report.css and report.js: sections as one HTML file.
* `panels`, `charts`: style and axes of charts; the charts, by plotly.
* `drawings`: pictures of matrices, histories and the lecture, as HTML, SVG or PNG.
* `show`: a report's page written again, its charts as pictures.
"""
