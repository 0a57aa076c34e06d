"""Files of a bundle that another program reads next to the model: labels, anchors, a configuration, metadata."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkdeploy.contract.chips import FLOAT16
from rkdeploy.host.graph.forms.frigate import frigate_model_type

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec

FRIGATE_CONFIGURATION: Final = "frigate.yml"
_FRIGATE_FOLDER: Final = "/config/model_cache"
_INT8_ARGUMENT, _FLOAT_ARGUMENT = 8, 16


def write_form_files(folder: Path, title: str, spec: ModelSpec) -> None:
    """Write them into a bundle; none for our own form.

    Args:
        folder: of the bundle, with the model in it.
        title: name of the bundle without target and type.
        spec: contract of the built model.
    """
    if spec.form == "zoo":
        _write(folder / f"{title}-labels.txt", "".join(f"{name}\n" for name in _names(spec)))
        if spec.anchors is not None:
            numbers = [f"{side:.10g}\n" for level in spec.anchors.levels_px for pair in level for side in pair]
            _write(folder / f"{title}-anchors.txt", "".join(numbers))
    elif spec.form == "frigate":
        labels = f"{title}-labelmap.txt"
        _write(folder / labels, "".join(f"{number}  {name}\n" for number, name in enumerate(_names(spec))))
        _write(folder / FRIGATE_CONFIGURATION, frigate_configuration(spec, labels))
    elif spec.form == "ultralytics":
        assert spec.model is not None
        base = title.removesuffix("-ultralytics")
        model = folder / f"{base}_rknn_model"
        model.mkdir()
        shutil.copyfile(folder / spec.model.file, model / f"{base}-{spec.model.target}.rknn")
        _write(model / "metadata.yaml", ultralytics_metadata(spec))


def frigate_configuration(spec: ModelSpec, labels: str) -> str:
    """The part of Frigate's `config.yml` that concerns a model in its form.

    Args:
        spec: contract of the built model.
        labels: name of the file of labels.
    """
    assert spec.model is not None
    return (
        "detectors:\n"
        "  rknn:\n"
        "    type: rknn\n"
        "    num_cores: 0\n"
        "\n"
        "model:\n"
        f"  path: {json.dumps(f'{_FRIGATE_FOLDER}/{spec.model.file}')}\n"
        f"  labelmap_path: {json.dumps(f'{_FRIGATE_FOLDER}/{labels}')}\n"
        f"  model_type: {frigate_model_type(spec)}\n"
        f"  width: {spec.input.width}\n"
        f"  height: {spec.input.height}\n"
        "  input_tensor: nhwc\n"
        "  input_dtype: int\n"
        f"  input_pixel_format: {spec.input.color}\n"
    )


def ultralytics_metadata(spec: ModelSpec) -> str:
    """The `metadata.yaml` from which the ultralytics package knows how to read a model.

    Args:
        spec: contract of the built model.
    """
    assert spec.model is not None
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(spec.class_names))
    quantize = _FLOAT_ARGUMENT if spec.model.dtype == FLOAT16 else _INT8_ARGUMENT
    layout = spec.keypoints
    points = "" if layout is None else f"kpt_shape: [{layout.count}, {3 if layout.scored else 2}]\n"
    return (
        f"description: {json.dumps(f'Built by rkdeploy for {spec.model.target}')}\n"
        f"stride: {max(spec.outputs[0].level_strides)}\n"
        f"task: {spec.task}\n"
        "batch: 1\n"
        "channels: 3\n"
        f"imgsz: [{spec.input.height}, {spec.input.width}]\n"
        f"names:\n{names}"
        f"args:\n  batch: 1\n  quantize: {quantize}\n  dynamic: false\n  nms: false\n"
        "end2end: false\n"
        f"{points}"
    )


def _names(spec: ModelSpec) -> list[str]:
    """Class names, each on one line."""
    return [" ".join(name.split()) or f"class_{number}" for number, name in enumerate(spec.class_names)]


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
