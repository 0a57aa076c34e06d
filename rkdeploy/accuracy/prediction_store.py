"""Predictions kept on disk, so that a stopped evaluation can resume.

    best-rk3588-int8.eval/<key>/part-000012.msgpack

The key is a hash of everything that the predictions depend on: the bundle's files, the images, the thresholds, the
backend.  Each part is written whole or not at all, and one that cannot be read is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkdeploy.accuracy.predictions import ImagePrediction, decoded, encoded
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import SUMS
from rkdeploy.contract.documents import document_text, read_document
from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import write_atomically
from rkdeploy.system.partial_file import clear_partials
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.datasets.truth import DataImage
    from rkdeploy.device.postprocess.thresholds import Thresholds

_FORMAT: Final = 3
_ABOUT: Final = "about.json"
_RESULT: Final = "eval.json"


@dataclass(frozen=True, slots=True)
class StatePart:
    """Predictions for some images, and their source."""

    predictions: tuple[ImagePrediction, ...]
    figures_from: str


class PredictionStore:
    """The parts of one evaluation of one backend."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, index: int, images: Sequence[DataImage]) -> StatePart | None:
        """A part; None if there is none, or it is damaged."""
        try:
            predictions, figures_from = decoded(self._path(index).read_bytes())
        except (OSError, ValueError):
            return None
        if [p.name for p in predictions] != [image.name for image in images]:
            return None
        return StatePart(tuple(predictions), figures_from)

    def write(self, index: int, part: StatePart) -> None:
        """Keep a part.

        Raises:
            RkdeployError: when it cannot be written.
        """
        write_atomically(self._path(index), encoded(list(part.predictions), part.figures_from), clear=False)

    def _path(self, index: int) -> Path:
        return self._folder / f"part-{index:06}.msgpack"


def open_store(
    base: Path, bundle: Bundle, backend: str, images: Sequence[DataImage], thresholds: Thresholds, *, multi_label: bool
) -> PredictionStore:
    """The store of an evaluation in the folder `base`, created if necessary.

    Stores of other builds of the bundle are removed: they cannot be used any more.

    Raises:
        RkdeployError: when the folder cannot be created, or is something else.
    """
    build = sha256_of(bundle.folder / SUMS)
    about = {
        "format": _FORMAT,
        "rkdeploy": __version__,
        "bundle": build,
        "backend": backend,
        "confidence": thresholds.confidence,
        "iou": thresholds.iou,
        "max_det": thresholds.max_det,
        "max_nms": thresholds.max_nms,
        "multi_label": multi_label,
        "images": _identity(images),
    }
    text = json.dumps(about, indent=2, sort_keys=True)
    folder = base / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_partials(folder)
        about_file = folder / _ABOUT
        if not about_file.is_file() or about_file.read_bytes() != text.encode():
            write_atomically(about_file, text.encode())
    except OSError as error:
        raise RkdeployError(
            f'Predictions cannot be kept in "{base}": {error.strerror}.', "Choose another folder with --state."
        ) from error
    _remove_outdated(base, build)
    return PredictionStore(folder)


def default_folder(bundle: Bundle) -> Path:
    """The folder next to the bundle."""
    resolved = bundle.folder.resolve()
    return resolved.with_name(f"{resolved.name}.eval")


def keep_result(folder: Path, report: AccuracyReport) -> None:
    """Write the result of the last evaluation where `rkdeploy report` finds it.

    Raises:
        RkdeployError: when it cannot be written.
    """
    write_atomically(folder / _RESULT, document_text(report).encode("ascii"))


def kept_result(bundle: Bundle) -> Path | None:
    """The file with the result of the last evaluation of a bundle, None where there is none of this very model.

    Raises:
        RkdeployError: when the file is damaged.
    """
    path = default_folder(bundle) / _RESULT
    if not path.is_file() or not bundle.rknn.is_file():
        return None
    found = read_document(path, (AccuracyReport,), "Remove it, or run rkdeploy eval again.")
    return path if found.model_sha256 == sha256_of(bundle.rknn) else None


def _identity(images: Sequence[DataImage]) -> str:
    """Hash of the files' names, sizes and modification times."""
    found = hashlib.sha256()
    for image in images:
        found.update(image.name.encode("utf-8", "surrogateescape") + b"\0")
        for file in (image.file, *image.maps, *((image.depth,) if image.depth is not None else ())):
            with contextlib.suppress(OSError):  # its prediction will report that it cannot be read
                status = file.stat()
                found.update(f"{status.st_size} {status.st_mtime_ns}\0".encode())
    return found.hexdigest()


def _remove_outdated(base: Path, build: str) -> None:
    for about in base.glob(f"*/{_ABOUT}"):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(about.read_bytes())
            if isinstance(found, dict) and found.get("bundle") not in (None, build):
                shutil.rmtree(about.parent, ignore_errors=True)
