"""A gallery as a file: a NumPy archive (`.npz`) of vectors, their names, and the model that they are of."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from rkdeploy.device.gallery.gallery import Gallery
from rkdeploy.errors import RkdeployError
from rkdeploy.system.partial_file import PartialFile

SUFFIX: Final = ".npz"
_LARGEST: Final = 1 << 30
_MAX_NAME: Final = 200
_DAMAGE: Final = (
    ValueError, KeyError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError, RuntimeError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""Errors of zipfile and numpy for bytes that are something else; an unknown compression is a RuntimeError."""
_AGAIN: Final = "Make it again: --gallery FOLDER --save-gallery FILE.npz."


def read_gallery(path: Path, model: str, threshold: float) -> Gallery:
    """Read a gallery.

    Args:
        path: of the file.
        model: SHA-256 of the trained model that the embeddings must be of.
        threshold: see `Gallery`.

    Raises:
        RkdeployError: when it cannot be read, is something else, or is of another model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise RkdeployError(f'The gallery "{path}" holds {size:,} bytes, expected at most {_LARGEST:,}.', _AGAIN)
        with np.load(path, allow_pickle=False) as stored:
            vectors, names, of = stored["vectors"], stored["names"], str(stored["model"])
    except OSError as error:
        raise RkdeployError(f'The gallery "{path}" cannot be read: {error.strerror or error}.', _AGAIN) from error
    except _DAMAGE as error:
        raise RkdeployError(f'"{path}" is not a gallery of rkdeploy.', _AGAIN) from error
    sound = vectors.ndim == 2 and vectors.dtype == np.float32 and names.shape == vectors.shape[:1]
    if not sound or not len(vectors) or names.dtype.kind != "U" or not np.isfinite(vectors).all():
        raise RkdeployError(f'"{path}" is not a gallery of rkdeploy.', _AGAIN)
    if of != model:
        raise RkdeployError(f'The gallery "{path}" is of another model: embeddings cannot be compared.', _AGAIN)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return Gallery(tuple(name[:_MAX_NAME] for name in names.tolist()), unit, threshold)


def write_gallery(path: Path, gallery: Gallery, model: str) -> None:
    """Write a gallery, whole or not at all.

    Raises:
        RkdeployError: when it cannot be written, or its name does not end in `.npz`.
    """
    if path.suffix.lower() != SUFFIX:
        raise RkdeployError(f'The gallery "{path}" must be a file that ends in {SUFFIX}.')
    partial = PartialFile(path)
    try:
        with partial.path.open("wb") as file:
            np.savez(file, vectors=gallery.vectors, names=np.array(gallery.names), model=np.array(model))
        partial.commit()
    except OSError as error:
        raise RkdeployError(f'The gallery "{path}" cannot be written: {error.strerror}.') from error
    finally:
        partial.discard()
