"""Images with or without labels: data.yaml, COCO and YOLO labels, calibration sets."""
