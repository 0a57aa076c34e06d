"""Code that runs on a board and on any PC: numpy and OpenCV, no onnx."""
