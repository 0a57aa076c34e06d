"""Reports on a build: files in, one `Report` of plain data, and its forms: HTML, Markdown, JSON, a terminal's summary.

Data goes one way: `documents` reads, `gather` puts together, `compose` puts into words, the renderers only render.
"""
