"""The host's build: from a checkpoint or an ONNX file to a verified bundle."""
