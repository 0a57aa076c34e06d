"""ONNX graphs: read, simplify, find the head, cut before its reshape, and prove that nothing changed."""
