"""Sections: the parts of a report, a comparison or a history, for every printed form. No JAX, no plotly.

In reading order:

* `section`: what a section is: tables, sentences, alarms, test cases, and what draws its charts.
* `row_groups`: rows of one kind: the sentence that counts them, what is rejected, each as a test case.
* `report_sections`: a report's sections, the one list behind terminal, Markdown, JUnit and page.
* `depth_sections`, `sweep_sections`: those of errors by depth, and of activations and functions alone.
* `comparison_sections`: what changed from one report to another, and over a history.
"""
