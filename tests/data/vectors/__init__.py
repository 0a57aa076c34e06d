"""ONNX files of networks that give a vector of the image, and the embeddings that their packages compute."""
