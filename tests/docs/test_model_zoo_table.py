"""The table of rknn_model_zoo's examples: every command can be typed as it stands, on both pages the same."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.docs.pages import read
from tests.docs.test_commands_shown import parse

PAGES = ("docs/howto/from-rknn-model-zoo.md", "docs/zh/howto/from-rknn-model-zoo.md")
EXAMPLES = (
    "yolov5", "yolov5_seg", "yolov6", "yolov7", "yolov8", "yolov8_seg", "yolov8_pose", "yolov8_obb", "yolov10",
    "yolo11", "yolox", "ppyoloe", "yolo_world",
)  # fmt: skip


def rows(page: str) -> dict[str, list[str]]:
    """Commands of each example."""
    lines = (line for line in read(page).splitlines() if line.startswith(tuple(f"| {name} |" for name in EXAMPLES)))
    return {line.split("|")[1].strip(): re.findall(r"`(rkdeploy [^`]+)`", line) for line in lines}


@pytest.mark.parametrize("command", [each for found in rows(PAGES[0]).values() for each in found])
def test_command_is_complete(command: str) -> None:
    """Arguments and options are accepted, and none is missing."""
    parse(shlex.split(command)[1:], complete=True)


def test_every_example_is_there() -> None:
    """Each has a command from what was trained; both pages have the same commands."""
    first, second = rows(PAGES[0]), rows(PAGES[1])
    assert tuple(first) == EXAMPLES
    assert all(first.values())
    assert first == second
