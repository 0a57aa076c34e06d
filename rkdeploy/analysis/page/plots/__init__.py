"""Plots as inline SVG: text stays text, colours and hatching come from the page's style sheet."""
