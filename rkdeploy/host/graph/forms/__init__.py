"""Outputs in the form that another program reads: nodes behind the cut graph, and the contract that describes them."""
