"""The options of a build as `rkdeploy build` takes them on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from rkdeploy.host.building.accuracy_gate import GateOptions
from rkdeploy.host.building.input_choice import InputChoice
from rkdeploy.host.building.options import BuildOptions
from rkdeploy.host.graph.cut import CutOptions
from rkdeploy.host.toolkit.float16 import NONE, Float16Choice


def build_command(options: BuildOptions) -> str:
    """The whole command, for a shell."""
    return shlex.join(["rkdeploy", "build", *build_arguments(options)])


def build_arguments(options: BuildOptions) -> list[str]:
    """The model, then each option that is not the default."""
    default = BuildOptions(options.model)
    arguments = [str(options.model)]
    for name, words in _WORDS.items():
        value = getattr(options, name)
        if value != getattr(default, name):
            arguments += words(value)
    return arguments


def _option(flag: str) -> Callable[[Any], list[str]]:
    return lambda value: [flag, str(value)]


def _size(imgsz: tuple[int, int]) -> list[str]:
    return ["--imgsz", str(imgsz[0]) if imgsz[0] == imgsz[1] else f"{imgsz[1]}x{imgsz[0]}"]


def _input(choice: InputChoice) -> list[str]:
    arguments = []
    for name in ("mean", "std"):
        values = getattr(choice, name)
        if values is not None:
            arguments += [f"--{name}", ",".join(f"{value:g}" for value in values)]
    for name, value in (("color", choice.color), ("fit", choice.fit), ("names", choice.names)):
        if value is not None:
            arguments += [f"--{name}", str(value)]
    return [*arguments, "--crop", f"{choice.crop_fraction:g}"] if choice.crop_fraction is not None else arguments


def _cut(cut: CutOptions) -> list[str]:
    default = CutOptions()
    split = ["--split", cut.split] if cut.split != default.split else []
    return [*split, "--sigmoid", cut.sigmoid] if cut.sigmoid != default.sigmoid else split


def _float16(choice: Float16Choice) -> list[str]:
    if choice.auto:
        return ["--float16-auto"]
    if choice.worst:
        return ["--float16-worst", str(choice.worst)]
    return ["--float16-layers", ",".join(choice.layers) or NONE]


def _gate(gate: GateOptions) -> list[str]:
    default = GateOptions(gate.data)
    arguments = ["--data", str(gate.data)]
    if gate.max_drop != default.max_drop:
        arguments += ["--max-drop", f"{gate.max_drop:g}"]
    if gate.split != default.split:
        arguments += ["--data-split", gate.split]
    if gate.labels is not None:
        arguments += ["--data-labels", gate.labels]
    return [*arguments, "--data-count", str(gate.limit)] if gate.limit is not None else arguments


_WORDS: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "weights": _option("--weights"),
    "anchors": lambda numbers: ["--anchors", ",".join(f"{number:g}" for number in numbers)],
    "cfg": _option("--cfg"),
    "imgsz": _size,
    "input": _input,
    "target": _option("--target"),
    "dtype": _option("--dtype"),
    "calib": _option("--calib"),
    "calib_count": _option("--calib-count"),
    "seed": _option("--seed"),
    "algorithm": _option("--algorithm"),
    "method": _option("--method"),
    "float16": _float16,
    "optimization_level": _option("--optimization-level"),
    "stem": _option("--stem"),
    "nms": lambda wanted: ["--nms" if wanted else "--no-nms"],
    "cut": _cut,
    "min_agreement": _option("--min-agreement"),
    "proof_images": _option("--proof-count"),
    "examples": _option("--examples"),
    "gate": _gate,
    "out": _option("--out"),
    "name": _option("--name"),
    "allow_unproven": lambda _: ["--allow-unproven"],
    "toolkit_python": lambda path: ["--toolkit-python", str(Path(path))],
}
"""How each field of `BuildOptions` is written."""


def unwritten_fields() -> set[str]:
    """Fields of `BuildOptions` that no option is written for; a test wants none."""
    return {field.name for field in fields(BuildOptions)} - _WORDS.keys() - {"model"}
