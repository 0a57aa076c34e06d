"""Instance masks and class maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.drawing.class_maps import draw_class_map, legend_classes, map_classes
from rkdeploy.device.drawing.colors import Bgr, class_color
from rkdeploy.device.drawing.fills import paint, paste, shade, tint
from rkdeploy.device.drawing.masks import draw_mask
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask
from tests.device.drawing.drawn_samples import boxes, ellipse

PEN = pen_for(640, 480)


def mixed(color: Bgr, ground: int, opacity: float) -> NDArray[np.float64]:
    return np.array([opacity * channel + (1 - opacity) * ground for channel in color])


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 4), (37, 53)])
def test_tint_mixes_only_what_is_covered(shape: tuple[int, int]) -> None:
    """Exact to one gray level, also in a part of an image; the rest stays unchanged."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (60, 80, 3), np.uint8)
    before, covered = image.copy(), random.integers(0, 2, shape, np.uint8)
    region = image[5 : 5 + shape[0], 7 : 7 + shape[1]]
    tint(region, covered, (10, 200, 90), 0.4)
    expected = before.astype(float)
    part = expected[5 : 5 + shape[0], 7 : 7 + shape[1]]
    part[covered > 0] = part[covered > 0] * 0.6 + np.array((10, 200, 90)) * 0.4
    assert np.abs(image - expected).max() <= 1
    paint(region, covered, (1, 2, 3))
    assert (region[covered > 0] == (1, 2, 3)).all()
    shade(image, (255, 255, 255), 1.0)
    assert (image == 255).all()


def test_paste_cuts_off_what_is_outside() -> None:
    """A picture beyond any border, or wholly outside, changes only what is inside."""
    picture, cover = np.full((4, 6, 3), 9, np.uint8), np.ones((4, 6), np.uint8)
    for left, top, pixels in ((-2, -1, 12), (8, 8, 4), (-6, 0, 0), (10, 3, 0), (2, 3, 24)):
        for used in (cover, None):
            image = np.zeros((10, 10, 3), np.uint8)
            paste(image, picture, used, left, top)
            assert (image == 9).all(axis=2).sum() == pixels


def test_a_mask_is_filled_and_rimmed() -> None:
    """Inside is the mixture, on the rim the color, and outside and in holes the image."""
    image = np.full((480, 640, 3), 100, np.uint8)
    pixels = np.ones((100, 160), np.bool_)
    pixels[40:60, 60:100] = False
    color = class_color(1)
    draw_mask(image, InstanceMask(200, 300, pixels), color, PEN)
    assert np.abs(image[320, 220] - mixed(color, 100, 0.4)).max() <= 1
    assert (image[350, 280] == 100).all()
    assert (image[:300] == 100).all()
    assert (image[400:] == 100).all()
    assert (image[300 + PEN.edge_px, 260:280] == color).all()
    assert (image[300:400, 200] != 100).all()


def test_the_rim_is_as_wide_on_slants() -> None:
    """A disc's rim has about the same width to all sides."""
    image = np.full((480, 640, 3), 100, np.uint8)
    color = class_color(1)
    draw_mask(image, ellipse(np.array([100, 100, 300, 300], np.float32)), color, PEN)
    rim = (image == color).all(axis=2)
    straight = int(rim[200, 100:200].sum())
    slanted = sum(bool(rim[200 - i, 200 - i]) for i in range(100)) * 2**0.5
    assert straight >= 1
    assert slanted == pytest.approx(straight, abs=1.5)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (2, 3)])
def test_tiny_masks(shape: tuple[int, int]) -> None:
    """Masks without pixels draw nothing, masks of a few pixels show."""
    image = np.full((20, 20, 3), 100, np.uint8)
    draw_mask(image, InstanceMask(19 - shape[1], 19 - shape[0], np.ones(shape, np.bool_)), class_color(0), PEN)
    assert (image != 100).any(axis=2).sum() == shape[0] * shape[1]


def test_masks_of_any_memory_order() -> None:
    """A view with strides is drawn as its copy is."""
    pixels = np.random.default_rng(0).integers(0, 2, (60, 80)).astype(np.bool_)
    images = [np.full((100, 100, 3), 100, np.uint8) for _ in range(2)]
    draw_mask(images[0], InstanceMask(3, 4, pixels.T[::2]), class_color(0), PEN)
    draw_mask(images[1], InstanceMask(3, 4, pixels.T[::2].copy()), class_color(0), PEN)
    assert np.array_equal(images[0], images[1])


def test_an_object_whose_mask_is_empty_still_has_its_box() -> None:
    """The model found it: it is shown."""
    image = np.full((240, 320, 3), 100, np.uint8)
    found = replace(boxes([50, 80, 150, 160]), masks=(InstanceMask(50, 80, np.zeros((0, 0), np.bool_)),))
    drawn = draw_detections(image, found, ("a",))
    assert tuple(drawn[160, 100].tolist()) == class_color(0)


def drivable_and_lanes() -> tuple[FoundClassMap, FoundClassMap]:
    area, lanes = np.zeros((480, 640), np.uint8), np.zeros((480, 640), np.uint8)
    area[240:, 100:500] = 1
    lanes[240:, 300:306] = 1
    return (
        FoundClassMap("drivable_area", ("background", "drivable"), area),
        FoundClassMap("lane_line", ("background", "lane line"), lanes),
    )


def test_what_is_driven_on_is_translucent_green_and_lanes_are_strong() -> None:
    """The image shows through the area, hardly through the lanes, and nothing happens elsewhere."""
    image = np.full((480, 640, 3), 100, np.uint8)
    drawn = draw_detections(image, replace(Detections.empty(), class_maps=drivable_and_lanes()), ())
    blue, green, red = drawn[400, 200].tolist()
    assert green > 100 > red
    assert np.abs(drawn[400, 200].astype(int) - 100).max() < 60
    lane = drawn[400, 302].astype(int)
    assert np.abs(lane - (blue, green, red)).max() > 80
    assert (drawn[200:240] == 100).all()
    assert (drawn[240:, 500:] == 100).all()


@pytest.mark.parametrize(
    "names", [("none", "a", "b", "c"), ("none", "a", "lane", "c"), ("none", "lane 1", "b", "lane 2")]
)
def test_each_class_has_its_color(names: tuple[str, ...]) -> None:
    """Also where lines and areas are in one map; the background and ids without a name stay as they are."""
    ids = np.repeat(np.array([0, 1, 2, 3, 9], np.uint8), 20)[None].repeat(10, axis=0)
    image = np.full((10, 100, 3), 100, np.uint8)
    found = FoundClassMap("m", names, ids)
    (classes,) = map_classes([found])
    draw_class_map(image, found.class_ids, classes, PEN)
    assert (image[:, :20] == 100).all()
    assert (image[:, 80:] == 100).all()
    assert len({one.color for one in classes}) == 3
    for one in classes:
        part = image[:, 20 * one.class_id + 5 : 20 * one.class_id + 15]
        assert np.abs(part - mixed(one.color, 100, one.opacity)).max() <= 1
        assert one.opacity == (0.8 if "lane" in names[one.class_id] else 0.4)


def test_an_area_of_its_own_has_a_rim() -> None:
    """In its full color, on every side but the image's border."""
    image = np.full((480, 640, 3), 100, np.uint8)
    found, _ = drivable_and_lanes()
    ((area,),) = map_classes([found])
    draw_class_map(image, found.class_ids, (area,), PEN)
    rim = (image == area.color).all(axis=2)
    assert rim[240, 100:500].all()
    assert rim[240:, 100].all()
    assert rim[240:, 499].all()
    assert not rim[250:, 110:490].any()


def test_two_maps_share_no_color() -> None:
    """Classes of another map go on where those of the first one ended."""
    ids = np.zeros((2, 2), np.uint8)
    styles = map_classes([FoundClassMap("a", ("none", "x", "y"), ids), FoundClassMap("b", ("none", "z"), ids)])
    assert len({one.color for of_map in styles for one in of_map}) == 3


def test_a_legend_of_many_classes_has_the_largest() -> None:
    """Few classes are all explained, there or not; of many, those that cover most of this image, in their order."""
    names = ("none", *(f"c{i}" for i in range(1, 31)))
    ids = np.zeros((10, 100), np.uint8)
    ids[:, :60], ids[:, 60:90], ids[:, 90:95] = 20, 7, 30
    found = [FoundClassMap("scene", names, ids)]
    styles = map_classes(found)
    assert [one.name for one in legend_classes(found, styles, 2)] == ["c7", "c20"]
    assert [one.name for one in legend_classes(found, styles, 10)] == ["c7", "c20", "c30"]
    assert len(legend_classes(found, styles, 30)) == 30


def test_the_last_of_256_classes() -> None:
    """Ids fill their 8 bits."""
    found = FoundClassMap("m", tuple(f"c{i}" for i in range(256)), np.full((4, 4), 255, np.uint8))
    drawn = draw_detections(np.zeros((4, 4, 3), np.uint8), replace(Detections.empty(), class_maps=(found,)), ())
    assert drawn.any(axis=2).all()
