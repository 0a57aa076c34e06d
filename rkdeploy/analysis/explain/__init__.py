"""Reasons why a quantized model differs from the float model: layer by layer, the ranges behind it, and what to try."""
