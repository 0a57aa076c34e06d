"""A gallery from a folder of pictures: one folder for each name, or files that are called by the name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.gallery.gallery import Gallery
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.errors import RkdeployError, SourceError
from rkdeploy.images.file import is_image_name, read_image

MOST_PICTURES: Final = 50_000
_FORM: Final = "Give a folder with one folder of pictures for each name, or with pictures such as ada.jpg."


def make_gallery(
    folder: Path,
    detect: Callable[[NDArray[np.uint8]], Detections],
    threshold: float,
    on_left_out: Callable[[str], None],
) -> Gallery:
    """The embeddings of the pictures of a folder.

    Args:
        folder: of pictures.
        detect: a model, or a chain; of several embeddings in a picture that of the largest object is taken.
        threshold: see `Gallery`.
        on_left_out: called with a sentence for each picture that cannot be read or gives no embedding.

    Raises:
        RkdeployError: when there is no folder, or no picture gives an embedding.
    """
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for name, file in pictures_of(folder):
        try:
            found = embedding_in(detect(read_image(file)))
        except SourceError as error:
            on_left_out(error.message)
            continue
        if found is None:
            on_left_out(f'The picture "{file}" is left out of the gallery: nothing with an embedding was found in it.')
            continue
        names.append(name)
        vectors.append(found)
    if not vectors:
        raise RkdeployError(f'No picture of the gallery "{folder}" gives an embedding.', _FORM)
    return Gallery(tuple(names), np.stack(vectors), threshold)


def pictures_of(folder: Path) -> list[tuple[str, Path]]:
    """Names and files of a gallery's folder, sorted; hidden files are left out.

    Raises:
        RkdeployError: when it cannot be listed, has no pictures, or too many.
    """
    try:
        found = [(entry.stem, entry) for entry in _shown(folder) if entry.is_file() and is_image_name(entry.name)]
        for inner in (entry for entry in _shown(folder) if entry.is_dir()):
            found += [(inner.name, file) for file in _shown(inner) if file.is_file() and is_image_name(file.name)]
    except OSError as error:
        raise RkdeployError(f'The gallery "{folder}" cannot be listed: {error.strerror}.', _FORM) from error
    if not found or len(found) > MOST_PICTURES:
        raise RkdeployError(
            f'The gallery "{folder}" has {len(found)} pictures, expected 1 to {MOST_PICTURES:,}.', _FORM
        )
    return found


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def embedding_in(found: Detections) -> NDArray[np.float32] | None:
    """The embedding of an image, or that of the largest of its objects that has one; None without one."""
    whole = found.embedding
    if whole is not None:
        return whole if whole.any() else None
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    answers_of = found.nested or ()
    for i in np.argsort(-(sides[:, 0] * sides[:, 1]), kind="stable").tolist() if answers_of else []:
        for answer in answers_of[int(i)]:
            inner = None if answer is None else answer.detections.embedding
            if inner is not None and inner.any():
                return inner
    return None
