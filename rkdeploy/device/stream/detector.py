"""Image to detections: letterbox, network, decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.images.fit import image_fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import Runtime


class Detector:
    """One model on one open runtime.  It reuses its buffers between calls: one detector per thread.

    Args:
        runtime: open, with the model of `spec`.
        spec: the contract.
        thresholds: limits of the detections to keep.

    Raises:
        RkdeployError: for an inconsistent contract, or a threshold of an unknown class.
    """

    def __init__(self, runtime: Runtime, spec: ModelSpec, thresholds: Thresholds) -> None:
        self._runtime = runtime
        self._fit = image_fit(spec.input)
        self._postprocess = Postprocessor(spec, thresholds)

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect objects in one image.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            Detections in pixels of the image.

        Raises:
            BackendError: when the runtime failed on it.
        """
        boxed = self._fit(image)
        return self._postprocess(self._runtime.infer(boxed.image), boxed.transform)
