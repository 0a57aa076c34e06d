"""Checkpoint to ONNX, written from the module tree, without torch or tracing; an unknown block is an error."""
