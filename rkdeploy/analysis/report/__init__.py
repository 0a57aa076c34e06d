"""Reports on a build: files in, one `Report` of plain data, and its forms: HTML, Markdown, JSON, a terminal's summary.

Data goes one way: `inputs` reads, `gather` puts together, `compose` puts into words (it has the list of sections), and
`rendering` only renders.
"""
