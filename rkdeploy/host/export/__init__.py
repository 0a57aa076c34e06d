"""Checkpoint to ONNX, written from the module tree: no torch, no tracing, an unknown block is a clear error."""
