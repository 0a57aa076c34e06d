"""Search in a gallery: the names of the images whose embeddings are nearest."""
