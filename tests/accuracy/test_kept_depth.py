"""Depth maps in the examples of a bundle."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from rkdeploy.accuracy.kept_depth import KeptDepth, found_depth, kept_depth
from rkdeploy.device.postprocess.detections import FoundDepth


@pytest.mark.parametrize("hw", [(40, 60), (480, 640), (1, 1), (3, 900)])
def test_depth_comes_back(hw: tuple[int, int]) -> None:
    """At the picture's size, but for the coarser pixels: within a hundredth of the range for a ramp."""
    values = np.linspace(0.5, 20.0, hw[1], dtype=np.float32)[None].repeat(hw[0], axis=0)
    found = found_depth(kept_depth(FoundDepth(values, "metric")), "metric", hw)
    assert (found.values.shape, found.values.dtype.name, found.kind) == (hw, "float32", "metric")
    np.testing.assert_allclose(found.values, values, atol=0.3)


def test_values_that_are_not_finite() -> None:
    """They become the lowest; a map without any finite value, or of one value, is kept too."""
    values = np.full((4, 4), 3.0, np.float32)
    values[0] = np.nan
    values[1, 1] = 5.0
    back = found_depth(kept_depth(FoundDepth(values, "inverse")), "inverse", (4, 4)).values
    assert (back.min(), back.max()) == pytest.approx((3.0, 5.0))
    for one in (np.full((4, 4), np.inf, np.float32), np.full((4, 4), 7.0, np.float32)):
        back = found_depth(kept_depth(FoundDepth(one, "metric")), "metric", (4, 4)).values
        assert np.isfinite(back).all()


def png(shape: tuple[int, int], dtype: type) -> str:
    return base64.b64encode(cv2.imencode(".png", np.zeros(shape, dtype))[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not base64!", "not a picture"),
        (base64.b64encode(b"GIF89a").decode(), "not a picture"),
        (png((4, 4), np.uint8), "16-bit"),
        (png((4, 129), np.uint16), "another size"),
        (png((4, 4), np.uint16)[:40], "not a picture|16-bit"),
    ],
)
def test_damaged(text: str, message: str) -> None:
    """Anything that is not a small 16-bit picture is refused, large ones before they are decoded."""
    with pytest.raises(ValueError, match=message):
        found_depth(KeptDepth(0.0, 1.0, text), "metric", (4, 4))
