"""Facts about text recognizers that their graph does not contain: preparation of images, characters, the blank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.families import lprnet, plate_crnn
from rkdeploy.host.families.characters import LOWER_CASE, LPRNET, PLATE_COLORS, PLATES, BlankPlace, text_formula
from rkdeploy.host.graph.head import Head
from rkdeploy.system.text_file import TextFileError, read_text

_LARGEST_FILE: Final = 1 << 22
_LONGEST: Final = 16
_GIVE: Final = "Give them with --characters FILE: one per line, in the order of training, such as ppocr_keys_v1.txt."
_ASSUMED_NAMES: Final = "class_0, class_1"
"""Words of the note about names that the graph does not have."""


@dataclass(frozen=True, slots=True)
class TextPreset:
    """Preparation of images in one training package's demo, and its dictionary.

    Attributes:
        family: whose it is.
        says: a few words for messages.
        image: the input, but for its name and size.
        blank: its place among the scores.
        characters: of the package's dictionary; empty where there are several.
        attribute: names of the attribute's classes, where the package has one.
    """

    family: str
    says: str
    image: InputSpec
    blank: BlankPlace = "first"
    characters: tuple[str, ...] = ()
    attribute: tuple[str, ...] = ()


def _input(mean: float, std: float, **others: object) -> InputSpec:
    image = InputSpec("images", 1, 1, mean=(mean,) * 3, std=(std,) * 3, fit="stretch", antialias=False)
    return replace(image, **others)  # type: ignore[arg-type]  # by keyword


TEXT_PRESETS: Final[Mapping[str, TextPreset]] = {
    "lprnet": TextPreset(
        lprnet.NAME, "LPRNet_Pytorch and rknn_model_zoo: BGR, (pixel - 127.5) / 128, stretched, the blank last",
        _input(lprnet.MEAN, lprnet.STD, color="bgr"), "last", LPRNET,
    ),
    "plate-crnn": TextPreset(
        plate_crnn.NAME, "crnn_plate_recognition: BGR, (pixel / 255 - 0.588) / 0.193, stretched, the blank first",
        _input(plate_crnn.MEAN, plate_crnn.STD, color="bgr"), "first", PLATES, PLATE_COLORS,
    ),
    "ppocr": TextPreset(
        "ppocr", "PP-OCR: BGR, (pixel - 127.5) / 127.5, the line at full height and padded, the blank first",
        _input(127.5, 127.5, color="bgr", fit="line", pad_value=127),
    ),
    "ppocr-zoo": TextPreset(
        "ppocr", "PP-OCR as rknn_model_zoo runs it: BGR from 0 to 1, stretched, the blank first",
        _input(0.0, 255.0, color="bgr"),
    ),
    "crnn": TextPreset(
        "crnn", "crnn.pytorch: (pixel - 127.5) / 127.5, stretched, the blank first, digits and lower-case letters",
        _input(127.5, 127.5), "first", LOWER_CASE,
    ),
    "ctc": TextPreset("onnx", "any other: RGB from 0 to 1, stretched, the blank first", _input(0.0, 255.0)),
    "ctc-blank-last": TextPreset("onnx", "the same, the blank last", _input(0.0, 255.0), "last"),
}  # fmt: skip


def fitting_texts(scores: int) -> tuple[str, ...]:
    """Names of the presets for a number of scores: those with a dictionary of this length first, then those without."""
    own = tuple(n for n, p in TEXT_PRESETS.items() if p.characters and text_formula(p.characters, scores, p.blank))
    return own or tuple(name for name, preset in TEXT_PRESETS.items() if not preset.characters)


def is_text(head: Head) -> bool:
    """True for the head of a text recognizer."""
    return any(tap.role == "text_logits" for tap in head.taps)


def with_text(network: Network, choice: InputChoice) -> Network:
    """The network of a text recognizer with its characters, the preparation of its images, and its attribute's names.

    Raises:
        RkdeployError: when a preset or the characters are missing or do not fit.
    """
    head, notes = network.head, list(network.notes)
    scores = next(tap for tap in head.taps if tap.role == "text_logits").shape[1]
    written = characters_of(network.trained)
    preset = _preset(network, choice, scores, written)
    known = head.text if preset is None else text_formula(preset.characters, scores, preset.blank)
    blank: BlankPlace = "first" if preset is None or preset.blank == "first" else "last"
    if preset is None and network.family == lprnet.NAME:
        blank = "last"
    if choice.characters is not None:
        known = _formula(read_characters(choice.characters), scores, blank, f'"{choice.characters}"')
    elif written and (preset is None or not preset.characters):
        known = _formula(written, scores, blank, "The ONNX file's metadata")
    if known is None:
        raise RkdeployError(f"The model gives scores of {scores} characters, and its file does not name them.", _GIVE)
    image = network.input if preset is None else _placed(preset.image, network.input)
    if network.prepares_pixels:
        image = replace(image, mean=network.input.mean, std=network.input.std)
    if preset is not None:
        notes = [note for note in notes if _ASSUMED_NAMES not in note]
        notes.append(f"Images are prepared as PP-OCR does it: {preset.says}.") if choice.preset is None else None
    names = network.class_names
    if preset is not None and len(preset.attribute) == head.classes:
        names = preset.attribute
    completed = replace(head, text=known, kind="")
    return replace(
        network,
        family=network.family if preset is None else preset.family,
        task="text",
        input=image,
        head=completed,
        reference_head=replace(network.reference_head, text=known, kind=""),
        class_names=names if head.classes > 1 else ("text",),
        notes=tuple(notes),
    )


def needed_of_text(network: Network) -> tuple[str, ...]:
    """Needs of a build from a recognizer's ONNX file in addition to the file, in words; empty if there are none."""
    if characters_of(network.trained):
        return ()
    scores = next(tap for tap in network.head.taps if tap.role == "text_logits").shape[1]
    presets = fitting_texts(scores)
    known = any(TEXT_PRESETS[name].characters for name in presets)
    said = f"what prepared its images: --preset {' or '.join(presets)}"
    return (said,) if known else (said, f"its {scores - 1} characters: --characters FILE")


def _preset(network: Network, choice: InputChoice, scores: int, written: Sequence[str]) -> TextPreset | None:
    """The preset that was asked for, or that the file shows; None for a checkpoint, which needs none.

    Raises:
        RkdeployError: when one is missing, or of another kind.
    """
    name = choice.preset
    if network.info is not None and not network.foreign:
        if name is not None:
            raise RkdeployError("The checkpoint says how its images are prepared.", "Leave out --preset.")
        return None
    if name is None and written:
        return TEXT_PRESETS["ppocr"]  # RapidOCR writes the dictionary into PP-OCR's files
    fitting = fitting_texts(scores)
    listed = "; ".join(f"--preset {each} ({TEXT_PRESETS[each].says})" for each in fitting)
    if name is None:
        lacks = "" if any(TEXT_PRESETS[each].characters for each in fitting) else f" {_GIVE}"
        raise RkdeployError(
            f"The model reads text ({scores} scores per column), and its file does not say how its images are "
            "prepared and which characters they are.",
            f"Say it: {listed}.{lacks}",
        )
    if name not in TEXT_PRESETS:
        raise RkdeployError(
            f"--preset {name} does not fit a model that reads text.", f"Presets that fit: {', '.join(TEXT_PRESETS)}."
        )
    return TEXT_PRESETS[name]


def _formula(characters: Sequence[str], scores: int, blank: BlankPlace, whose: str) -> TextFormula:
    """The formula of a dictionary.

    Raises:
        RkdeployError: when it has another number of characters.
    """
    found = text_formula(characters, scores, blank)
    if found is None:
        raise RkdeployError(
            f"{whose} has {len(characters)} characters, expected {scores - 1} for {scores} scores with the blank, or "
            f"{scores} with it, or {scores - 2} without the space, which PP-OCR puts last.",
            "Give the dictionary that the model was trained with, one character per line, in its order.",
        )
    return found


def _placed(image: InputSpec, at: InputSpec) -> InputSpec:
    return replace(image, name=at.name, height=at.height, width=at.width)


def characters_of(model: onnx.ModelProto) -> tuple[str, ...]:
    """The dictionary in the metadata of an ONNX file, as RapidOCR writes it; empty without one."""
    text = next((entry.value for entry in model.metadata_props if entry.key == "character"), "")
    lines = _lines(text) if len(text) <= _LARGEST_FILE else ()
    return lines if all(len(line) <= _LONGEST for line in lines) else ()


def read_characters(path: Path) -> tuple[str, ...]:
    """The characters of a file, one per line; of a single line each of its letters.

    Raises:
        RkdeployError: unreadable, not a text file, or with a line that is too long.
    """
    try:
        characters = _lines(read_text(path, _LARGEST_FILE))
    except TextFileError as error:
        raise RkdeployError(f'The file of characters "{path}" {error.reason}.', error.fix) from error
    if len(characters) == 1:
        characters = tuple(characters[0])
    wrong = next((one for one in characters if not 0 < len(one) <= _LONGEST), None)
    if wrong is not None:
        reason = "an empty line" if not wrong else f"the line {shown(wrong)}"
        raise RkdeployError(f'The file of characters "{path}" has {reason}, expected one character per line.')
    return characters


def _lines(text: str) -> tuple[str, ...]:
    """Lines of a text: no other character than the line feed ends one, since a dictionary has such characters."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return tuple(lines[:-1] if lines and not lines[-1] else lines)
