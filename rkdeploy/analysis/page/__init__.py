"""Pages: tables, plots and notes in one language, and their printers (terminal, Markdown, HTML)."""
