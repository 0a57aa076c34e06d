"""Drawing on a smaller copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rkdeploy.device.drawing.scaled import draw_scaled
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask

NAMES = ("car",)
GRAY = np.broadcast_to(np.uint8(90), (1080, 1920, 3))


def test_large_images_are_scaled_with_all_that_was_found() -> None:
    """Masks and maps are drawn at the place where they are in the scaled picture."""
    class_ids = np.zeros((1080, 1920), np.uint8)
    class_ids[540:] = 1
    with_map = replace(Detections.empty(), class_maps=(FoundClassMap("road", ("none", "drivable"), class_ids),))
    box, one = np.array([[400, 300, 1400, 900]], np.float32), np.ones(1, np.float32)
    mask = InstanceMask(400, 300, np.ones((600, 1000), np.bool_))
    with_mask = Detections(box, one, np.zeros(1, np.int32), masks=(mask,))
    for found, inside, outside in ((with_mask, (400, 600), (100, 600)), (with_map, (600, 300), (300, 1000))):
        picture = draw_scaled(GRAY, found, NAMES, 1280).astype(int)
        assert picture.shape == (720, 1280, 3)
        assert np.abs(picture[inside] - 90).max() > 20
        assert np.abs(picture[outside] - 90).max() < 5


def test_small_images_keep_their_size() -> None:
    """Nothing is scaled up, and the image itself stays as it is."""
    image = np.full((48, 64, 3), 7, np.uint8)
    box = np.array([[8, 8, 40, 40]], np.float32)
    found = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32))
    drawn = draw_scaled(image, found, NAMES, 1280)
    assert drawn.shape == (48, 64, 3)
    assert (image == 7).all()
    assert (drawn != 7).any()
