"""Mean and standard deviation of ImageNet's images, used by torchvision and many others: RGB, of 0..255."""

from __future__ import annotations

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
