"""Preparation of ImageNet's images, which torchvision's models and most classifiers since were trained with: RGB."""

from __future__ import annotations

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Per channel, of pixel values 0..255."""
TORCHVISION_CROP = 0.875
"""Share of the image's shorter side that a center crop takes: 224 of 256."""
