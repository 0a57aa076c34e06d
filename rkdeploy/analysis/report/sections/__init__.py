"""The parts of a report: each turns a model's figures into tables, plots and sentences of one language."""
