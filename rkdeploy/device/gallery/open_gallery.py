"""The gallery of a run: read from its file, or made of its pictures by the models of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.contract.bundle import BUILD
from rkdeploy.contract.embedded_contract import contract_digest
from rkdeploy.device.gallery.gallery import Gallery
from rkdeploy.device.gallery.gallery_file import SUFFIX, read_gallery, write_gallery
from rkdeploy.device.gallery.make_gallery import make_gallery
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.gallery.gallery_options import GalleryOptions
    from rkdeploy.device.postprocess.detections import Detections


def open_gallery(
    options: GalleryOptions,
    bundles: Sequence[Bundle],
    detect: Callable[[NDArray[np.uint8]], Detections],
    on_left_out: Callable[[str], None],
) -> Gallery | None:
    """The gallery that the options name; None without one.

    Args:
        options: of the run.
        bundles: of the run's models, the first one's first.
        detect: the run's models on one image; called for a folder of pictures only.
        on_left_out: see `make_gallery`.

    Raises:
        RkdeployError: when no model gives embeddings, or the gallery cannot be read, made or written.
    """
    path = options.gallery
    if path is None:
        if options.save is not None:
            raise RkdeployError("--save-gallery is given without a gallery.", "Name it: --gallery FOLDER.")
        return None
    model = next((bundle for bundle in bundles if bundle.spec.embedding is not None), None)
    if model is None:
        raise RkdeployError(
            "--gallery needs a model that gives embeddings, and there is none.",
            "Give the bundle of one, or name it behind a detector: --then BUNDLE.",
        )
    digest = _trained_model(model)
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        found = read_gallery(path, digest, options.threshold)
    else:
        found = make_gallery(path, detect, options.threshold, on_left_out)
    width = next(output.shape[1] for output in model.spec.outputs if output.role == "embedding")
    if found.vectors.shape[1] != width:
        raise RkdeployError(f'The gallery "{path}" has {found.vectors.shape[1]} values, expected {width}.')
    if options.save is not None:
        write_gallery(Path(options.save), found, digest)
    return found


def _trained_model(bundle: Bundle) -> str:
    """Hash of what a bundle was built from: int8 and fp16 builds of one model have embeddings that can be compared."""
    if not (bundle.folder / BUILD).is_file():
        return contract_digest(bundle.spec)
    return bundle.record.source.sha256
