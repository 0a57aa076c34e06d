"""Outputs in other programs' forms, with what those programs read in them."""
