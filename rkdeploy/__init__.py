"""rkdeploy: from a trained YOLO checkpoint to a verified model on a Rockchip NPU."""

__version__ = "0.2.0"
