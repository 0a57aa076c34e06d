"""Plots as inline SVG: text stays text, colors and hatching come from the page's style sheet."""
