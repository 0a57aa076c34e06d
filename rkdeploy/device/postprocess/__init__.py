"""Head tensors to detections: `postprocessor` takes a decoder by the contract's roles, and `nms` follows it.

`anchor_decode` reads anchors of YOLO and darknet, `query_decode` queries of transformers, and `point_decode` all heads
with boxes of cells, those of SSD included.  `thresholds` says what is kept; `native/` has the hot loops in C.
"""
