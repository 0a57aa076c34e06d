"""Anchors given by the user for a graph that has none: raw head outputs without the checkpoint."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from typing import Final

from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.option import Form
from rkdeploy.system.text_file import TextFileError, read_text

GIVEN: Final = "command line"
"""`Network.anchors_from` of such anchors."""
_MAX_BYTES: Final = 1 << 20
_MAX_NUMBERS: Final = 2 * 8 * 64  # levels times anchors per level, far beyond any known model
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SEPARATORS: Final = re.compile(r"[\s,;|()\[\]-]*")
_YAML_ANCHORS: Final = re.compile(r"^anchors\s*:(.*\n(?:[ \t#-].*\n|\s*\n)*)", re.MULTILINE)
_HELP: Final = (
    "Give them in pixels, the finest level first, as the training's yaml lists them: "
    "--anchors 10,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326, or a file with these numbers."
)


def read_anchors(text: str) -> tuple[float, ...]:
    """The numbers of `--anchors`: a list, a text file with one, or a YOLOv5 or YOLOv7 yaml with `anchors:`.

    Args:
        text: the option's value.

    Returns:
        width, height, width, height, ... in pixels.

    Raises:
        RkdeployError: a file that cannot be read, something other than numbers, or an odd count of them.
    """
    path = Path(text)
    is_list = not _SEPARATORS.sub("", _NUMBER.sub("", text))
    written = text if is_list else _of_file(path)
    written = re.sub(r"#.*", "", written)
    strange = _SEPARATORS.sub("", _NUMBER.sub("", written))
    numbers = tuple(float(number) for number in _NUMBER.findall(written)[: _MAX_NUMBERS + 1])
    if strange or not numbers or len(numbers) % 2 or len(numbers) > _MAX_NUMBERS:
        found = f"holds {shown(strange[:40])}" if strange else f"has {len(numbers)} numbers"
        raise RkdeployError(f"--anchors {found}, expected pairs of width and height.", _HELP)
    if not all(isfinite(number) and 0 < number < 1e5 for number in numbers):
        raise RkdeployError("--anchors has a number that is not a length in pixels above 0.", _HELP)
    return numbers


ANCHORS: Final = Form(read_anchors, lambda numbers: ",".join(f"{number:g}" for number in numbers), "W,H,...")
"""The form of anchors on a command line."""


def anchors_of_levels(numbers: tuple[float, ...], levels: int, per_level: int) -> Anchors:
    """The anchors of a head.

    Args:
        numbers: from `read_anchors`.
        levels: levels of the head.
        per_level: anchors per level.

    Raises:
        RkdeployError: when their number is not the head's, or levels are not in the order of their size.
    """
    if len(numbers) != 2 * levels * per_level:
        raise RkdeployError(
            f"--anchors has {len(numbers) // 2} anchors, expected {levels * per_level}: {per_level} on each of the "
            f"head's {levels} levels.",
            _HELP,
        )
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    found = [tuple(pairs[start : start + per_level]) for start in range(0, len(pairs), per_level)]
    areas = [sum(width * height for width, height in level) for level in found]
    if areas != sorted(areas):
        raise RkdeployError("--anchors has larger anchors on a finer level, expected the finest level first.", _HELP)
    return Anchors(tuple(found))


def _of_file(path: Path) -> str:
    """The numbers in a file: all of it, or the entry `anchors` of a yaml."""
    try:
        text = read_text(path, _MAX_BYTES)
    except TextFileError as error:
        raise RkdeployError(f'--anchors "{path}" {error.reason}.', error.fix or _HELP) from error
    if path.suffix.lower() not in (".yaml", ".yml"):
        return text
    found = _YAML_ANCHORS.search(f"{text}\n")
    if found is None:
        raise RkdeployError(f'--anchors "{path}" has no entry "anchors".', _HELP)
    return found[1]
