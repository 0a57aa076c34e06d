"""What a file is that a user holds: a checkpoint, an ONNX graph, a `.rknn` or a bundle, and whether it builds."""
