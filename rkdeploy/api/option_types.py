"""The keywords of the library's functions and their types, for type checkers.

Each is an option of the command, declared in the dataclass that is named; a test compares them.
"""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from rkdeploy.contract.spec import FormName

PathLike = str | os.PathLike[str]


class BuildKeywords(TypedDict, total=False):
    """Options of `rkdeploy.host.building.build_options.BuildOptions`."""

    calib_count: int
    seed: int
    algorithm: Literal["normal", "mmse", "kl_divergence", "sensitivity"]
    method: Literal["channel", "layer"]
    depthwise_parts: int
    bias_correction: bool
    float16_layers: str | list[str] | tuple[str, ...]
    float16_worst: int
    float16_auto: bool
    split: Literal["none", "boxes_scores", "xy_wh_scores"]
    sigmoid: Literal["none", "all", "boxes", "scores"]
    weights: PathLike | None
    anchors: PathLike | tuple[float, ...] | None
    cfg: PathLike | None
    family: str | None
    imgsz: int | str | tuple[int, int] | None
    names: PathLike | None
    characters: PathLike | None
    preset: str | None
    task: Literal["classify", "embedding"] | None
    mean: str | tuple[float, float, float] | None
    std: str | tuple[float, float, float] | None
    color: Literal["rgb", "bgr"] | None
    fit: Literal["letterbox", "center_crop", "stretch", "line"] | None
    crop: float | None
    target: str
    dtype: str
    calib: PathLike | None
    calibration: Literal["given", "new"]
    optimization_level: int
    form: FormName
    stem: Literal["trained", "space_to_depth", "slices", "convolution", "stripes"]
    nms: bool | None
    batch: int
    min_agreement: float
    remedies: bool
    proof_count: int
    allow_unproven: bool
    data: PathLike
    data_split: str
    data_labels: str | None
    data_count: int | None
    max_drop: float
    out: PathLike
    name: str | None
    examples: int
    toolkit_python: PathLike | None


class EvaluateKeywords(TypedDict, total=False):
    """Options of `rkdeploy.accuracy.evaluation.EvaluationOptions`."""

    data_split: str
    data_labels: str | None
    data_count: int | None
    backend: str | list[str] | tuple[str, ...]
    images: PathLike | None
    conf: str | list[str] | tuple[str, ...]
    iou: float | None
    best_class: bool
    workers: int
    state: PathLike | None
    fresh: bool
    toolkit_python: PathLike | None


class ProfileKeywords(TypedDict, total=False):
    """Options of `rkdeploy.device.profiling.measure.ProfileOptions`."""

    backend: str
    contexts: list[int] | tuple[int, ...] | None
    frame_size: int | str | tuple[int, int]
    frames: int
    seconds: float
    warmup: int
    toolkit_python: PathLike | None
