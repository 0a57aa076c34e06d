"""The host: from a checkpoint to a bundle.  Needs onnx and the vendor's toolkit."""
