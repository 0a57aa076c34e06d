"""Chains of models: parts of a frame, as a first model found them, for further models to look at."""
