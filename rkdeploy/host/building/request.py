"""Hash of a build's request: builds of one request by one toolkit and one rkdeploy are equal."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

from rkdeploy.contract.file_hash import sha256_of

if TYPE_CHECKING:
    from rkdeploy.datasets.truth import LabeledSet
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.chosen_images import BuildImages

_COCO_SUFFIX = ".json"
_ANY_HW = (1024, 1024)  # labels as fractions of an image are compared at one size, whatever the image's own is


def request_of(options: BuildOptions, images: BuildImages, labeled: LabeledSet | None) -> str:
    """SHA-256, in hexadecimal digits, of everything that a user decides about a build.

    Files count by their content, labeled images by name, size and modification time, everything else by value.  Not
    included are the bundle's folder and name, the interpreter, and the limits of accuracy and proof.

    Args:
        options: of the build.
        images: the images that were chosen for it.
        labeled: the images of the accuracy gate, None without.

    Raises:
        OSError: when a file of the options no longer exists.
    """
    asked = replace(
        options, calib=None, out=Path(), toolkit_python=None, min_agreement=0.0, name=None, allow_unproven=False
    )
    document = {
        "model_name": options.model.name,
        "options": msgspec.to_builtins(asked, enc_hook=_content),
        "weight_files": _weight_files(options.model),
        "calibration": [(i.path, i.sha256) for i in images.calibration.images] if images.calibration else [],
        "proof": [(i.path, i.sha256) for i in images.proof],
        "labeled": _labeled(labeled, options) if labeled is not None else None,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _content(value: Any) -> str:
    """A path by the content of its file."""
    if not isinstance(value, Path):
        raise NotImplementedError(f"{type(value)} in the options of a build")  # the exception that msgspec expects
    return sha256_of(value) if value.is_file() else value.name


def _weight_files(model: Path) -> list[str]:
    """The external weight files of an ONNX file."""
    if model.suffix.lower() != ".onnx":
        return []
    graph = onnx.load(str(model), load_external_data=False).graph
    names = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    return [sha256_of(model.parent / name) for name in sorted(names) if (model.parent / name).is_file()]


def _labeled(labeled: LabeledSet, options: BuildOptions) -> str:
    """The images and labels of the accuracy gate."""
    found = hashlib.sha256()
    # a COCO file counts as a whole, by the options
    in_file = options.gate is not None and options.gate.data.suffix.lower() == _COCO_SUFFIX
    for image in labeled.images:
        found.update(f"{image.name!r} {image.class_id}\0".encode("utf-8", "surrogateescape"))
        for file in (image.file, *image.maps):
            with contextlib.suppress(OSError):  # the measurement will report that it cannot be read
                status = file.stat()
                found.update(f"{status.st_size} {status.st_mtime_ns}\0".encode())
        if labeled.objects is not None and not in_file:
            truth = labeled.objects.of(image.name, _ANY_HW)
            arrays = (truth.class_ids, truth.xyxy, truth.crowd, truth.keypoints, truth.rotated)
            for array in arrays:
                found.update(b"\0" if array is None else array.tobytes())
            found.update(repr(truth.outlines).encode())
    return found.hexdigest()
