"""The kind of file that a user holds (checkpoint, ONNX graph, `.rknn`, bundle), and whether it builds."""
