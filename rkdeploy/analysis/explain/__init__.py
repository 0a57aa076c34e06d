"""Reasons why a quantized model differs from float: layer by layer, the ranges behind it, and what to try."""
