"""Letters and colors."""

from __future__ import annotations

import pytest

from rkdeploy.device.drawing.colors import PALETTE_RGB, Bgr, class_color, edge_color, ramp_color, text_color
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.drawing.text import ascii_label, fit_text, plate, stamp, text_width


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("bolt", "bolt"),
        ("Zündkerze", "Zundkerze"),
        ("Straße", "Strasse"),
        ("螺栓", "#3"),
        ("bolt 螺", "#3"),
        ("", "#3"),
        ("two\nlines\t x", "two lines x"),
        ("a\x07b", "#3"),
    ],
)
def test_names_in_ascii(name: str, drawn: str) -> None:
    """Accents are dropped; what has no ASCII form is drawn as the class id, never as question marks."""
    assert ascii_label(name, 3) == drawn


def luminance(bgr: Bgr) -> float:
    b, g, r = ((v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (c / 255 for c in bgr))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: Bgr, b: Bgr) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_colors_are_stable_distinct_and_readable() -> None:
    """Twenty different colors, the same for an id every time, each with a text contrast of 4.5 or more (WCAG AA)."""
    assert len(set(PALETTE_RGB)) == 20
    assert class_color(3) == class_color(23)
    assert class_color(0) == (0xB2, 0x72, 0x00)
    for class_id in range(20):
        color = class_color(class_id)
        assert contrast(color, text_color(color)) >= 4.5, class_id


def test_lines_show_on_black_and_white() -> None:
    """Of a color and its edge, at least one has a contrast of 3 with either (WCAG's minimum for graphics)."""
    for class_id in range(20):
        color = class_color(class_id)
        for ground in ((0, 0, 0), (255, 255, 255)):
            assert max(contrast(color, ground), contrast(edge_color(color), ground)) >= 3, class_id


@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_a_ramp_gets_lighter(count: int) -> None:
    """The order of points can be seen without colors."""
    steps = [luminance(ramp_color(i, count)) for i in range(count)]
    assert steps == sorted(steps)
    assert len(set(steps)) == count


@pytest.mark.parametrize("room", [0, 10, 60, 500])
def test_text_fits_its_room(room: int) -> None:
    """The name gives way, the rest stays, and when that has no room either nothing is left."""
    pen = pen_for(640, 480)
    text = fit_text("a long name indeed", "0.97", room, pen)
    assert text_width(text, pen) <= room or not text
    assert text == "" or text.endswith("0.97")
    assert (fit_text("a long name indeed", "0.97", 10_000, pen)) == "a long name indeed 0.97"


def test_kept_pictures_cannot_be_changed() -> None:
    """Labels are kept from frame to frame; writing into one is an error, not a spoiled label."""
    pen = pen_for(640, 480)
    for picture in (plate("bolt", 60, 20, (1, 2, 3), pen), *stamp("7", pen)):
        with pytest.raises(ValueError, match="read-only"):
            picture[:] = 0


def test_sizes_grow_with_the_image() -> None:
    """Letters have at least seven pixels, and about the same share of every image from VGA on."""
    small, vga, large = pen_for(320, 240), pen_for(640, 480), pen_for(3840, 2160)
    assert small.cap_px == 7
    assert large.cap_px / (3840 * 2160) ** 0.5 == pytest.approx(vga.cap_px / (640 * 480) ** 0.5, rel=0.1)
    assert small.line_px < large.line_px
