"""Keeper of the first held-out images of a build, small, with both models' detections: a bundle's examples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.kept_examples import FOLDER, INDEX, MAX_SIDE, KeptExample, KeptExamples, kept_result
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.bundle import write_json
from rkdeploy.device.drawing.scaling import scale_detections
from rkdeploy.errors import BundleError
from rkdeploy.host.building.agreement_meter import Comparison

_JPEG_QUALITY = 85


class ExampleKeeper:
    """Takes the first images of a comparison and writes them into a bundle.

    Args:
        bundle: folder of the bundle under construction.
        count: number of images to keep; 0 keeps none.
    """

    def __init__(self, bundle: Path, count: int) -> None:
        self._folder = bundle / FOLDER
        self._count = count
        self._kept: list[KeptExample] = []

    def add(self, source: str, image: NDArray[np.uint8], compared: Comparison) -> None:
        """Add one image, unless there are enough.

        Args:
            source: name of the source.
            image: (H, W, 3) uint8 BGR.
            compared: detections of both models in it.

        Raises:
            BundleError: when the picture cannot be written.
        """
        if len(self._kept) >= self._count:
            return
        self._folder.mkdir(exist_ok=True)
        hw = image.shape[0], image.shape[1]
        scale = min(1.0, MAX_SIDE / max(hw))
        small_hw = max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))
        small = image if small_hw == hw else cv2.resize(image, small_hw[::-1], interpolation=cv2.INTER_AREA)
        name = f"{len(self._kept) + 1}.jpg"
        written, data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        if not written:
            raise BundleError(f'The example picture of "{source}" cannot be written.')
        (self._folder / name).write_bytes(data.tobytes())
        self._kept.append(
            KeptExample(
                file=name,
                source=source,
                width=small_hw[1],
                height=small_hw[0],
                reference=kept_result(scale_detections(compared.reference, hw, small_hw), small_hw),
                built=kept_result(scale_detections(compared.built, hw, small_hw), small_hw),
                pairs=compared.matches.pairs,
            )
        )

    def write(self, reference_from: str, agreement: Agreement) -> None:
        """Write `examples.json`, if any image was kept.

        Args:
            reference_from: backend of the float model.
            agreement: the comparison that the images belong to.
        """
        if not self._kept:
            return
        write_json(
            self._folder / INDEX,
            KeptExamples(
                reference_from=reference_from,
                built_from=agreement.figures_from,
                confidence=agreement.confidence,
                iou=agreement.iou,
                score_difference=agreement.score_difference,
                images=tuple(self._kept),
            ),
        )
