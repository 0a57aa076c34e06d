"""Words of the YOLO command line (`yolo export model=best.pt format=rknn`), answered with rkdeploy's command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

_COMMAND_OF: Final[Mapping[str, str]] = {
    "export": "build",
    "convert": "build",
    "quantize": "build",
    "predict": "run",
    "detect": "run",
    "track": "run",
    "infer": "run",
    "val": "eval",
    "validate": "eval",
    "test": "eval",
    "benchmark": "profile",
}
_TASKS: Final = frozenset({"detect", "segment", "classify", "pose", "obb"})
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "build": {"imgsz": "--imgsz", "data": "--calib", "name": "--target"},
    "run": {"conf": "--conf", "iou": "--iou", "max_det": "--max-det"},
    "eval": {"data": "--data", "split": "--split", "iou": "--iou"},
    "profile": {},
}
_FLAGS: Final[Mapping[str, str]] = {"show": "--show", "save": "--save drawn"}
_TRUE: Final = frozenset({"", "true", "1"})
NAMES: Final = frozenset({*_COMMAND_OF, *_TASKS, "train"})
"""Commands of other tools that are answered."""


def answer(words: Sequence[str]) -> str:
    """The message for a command line that begins with one of `NAMES`: the same in rkdeploy's words.

    Args:
        words: all arguments; `KEY=VALUE`, `--KEY VALUE` and `--KEY=VALUE` are understood.
    """
    mode = words[1] if words[0] in _TASKS and words[1:2] and words[1] in NAMES else words[0]
    named = f'"{mode}" is not a command of rkdeploy'
    if mode == "train":
        return f"{named}: it deploys trained models. Train with the tool of the model's family."
    command = _COMMAND_OF.get(mode, "run")
    return f"{named}. Use: {_translated(command, _pairs(words))}"


def _pairs(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    key = ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") or equals:
            key = name.lstrip("-").replace("-", "_")
            found[key] = value
        elif key and not found[key]:
            found[key] = word
    return found


def _translated(command: str, pairs: Mapping[str, str]) -> str:
    model = pairs.get("model") or pairs.get("weights") or ""
    built = model.endswith((".pt", ".pth", ".onnx"))
    first = (model or "best.pt") if command == "build" else ("BUNDLE" if built or not model else model)
    line = ["rkdeploy", command, first]
    if command == "run":
        source = pairs.get("source", "images/")
        line += ["--camera", source] if source.isdecimal() else [source]
    for key, option in _OPTIONS[command].items():
        if key in pairs:
            line += [option, _size(pairs[key]) if key == "imgsz" else pairs[key]]
    if command == "eval" and "data" not in pairs:
        line += ["--data", "data.yaml"]
    if command == "build" and pairs.get("half", "false").lower() in _TRUE:
        line += ["--dtype", "fp16"]
    for key, option in _FLAGS.items() if command == "run" else ():
        if key in pairs and pairs[key].lower() in _TRUE:
            line += option.split()
    made = f"  (BUNDLE: what rkdeploy build {shlex.quote(model)} makes)" if built and command != "build" else ""
    return shlex.join(line) + made


def _size(text: str) -> str:
    """`384,640` or `[384, 640]`, height first, as WIDTHxHEIGHT."""
    sides = text.strip("[]()").replace(" ", "").split(",")
    return "x".join(reversed(sides))
