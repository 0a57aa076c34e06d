"""Single images through a chain of models, from any thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rkdeploy.device.chain.crop_rule import crops_of
from rkdeploy.device.chain.in_frame import in_frame
from rkdeploy.device.stream.detector_pool import DetectorPool
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.device.chain.recognizer import Recognizer
    from rkdeploy.device.chain.region import Region
    from rkdeploy.device.postprocess.detections import Detections, NestedResult


class ChainPool:
    """A detector and the recognizers that look at what it finds.

    The crops of an image are spread over all contexts of their recognizer.  Contexts are opened when they are first
    used, as in `DetectorPool`.

    Args:
        detector: the first model.
        recognizers: the further ones.

    Raises:
        RkdeployError: for an inconsistent contract.
    """

    def __init__(self, detector: DetectorPool, recognizers: Sequence[Recognizer]) -> None:
        self._detector = detector
        self._lines = tuple(_RecognizerPool(one) for one in recognizers)
        self._executor: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def __len__(self) -> int:
        return len(self._detector)

    @property
    def notes(self) -> tuple[str, ...]:
        """The runtimes' notes to the user, each once."""
        pools = (self._detector, *(line.pool for line in self._lines))
        return tuple(dict.fromkeys(note for pool in pools for note in pool.notes))

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect in one image, and run the recognizers on what was found.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            Detections with `nested`; None in place of the answer of a crop on which its model failed.

        Raises:
            BackendError: when the detector failed, a recognizer failed on every crop, or the pool is closed.
        """
        found = self._detector(image)
        height, width = image.shape[:2]
        answers: list[list[NestedResult | None]] = [[None] * len(self._lines) for _ in range(len(found))]
        for position, line in enumerate(self._lines):
            regions = crops_of(found, line.recognizer.rule, line.recognizer.spec.input, (height, width)).regions
            for (index, _), answer in zip(regions, self._answers(line, image, regions), strict=True):
                answers[index][position] = answer
        return replace(found, nested=tuple(map(tuple, answers)))

    def close(self) -> None:
        """Wait for the calls in progress and close all contexts; later calls are refused."""
        with ExitStack() as stack:
            for line in self._lines:
                stack.callback(line.pool.close)
            stack.callback(self._detector.close)
            if self._executor is not None:
                stack.callback(self._executor.shutdown)

    def _answers(
        self, line: _RecognizerPool, image: NDArray[np.uint8], regions: Sequence[tuple[int, Region]]
    ) -> list[NestedResult | None]:
        """The answer for each region.

        Raises:
            BackendError: when all failed: the model's, not a crop's fault.
        """
        parts = [region for _, region in regions]
        if len(parts) < 2 or len(line.pool) < 2:
            tried = [line.answer(image, region) for region in parts]
        else:
            tried = list(self._workers().map(line.answer, [image] * len(parts), parts))
        failures = [one for one in tried if isinstance(one, BackendError)]
        if failures and len(failures) == len(tried):
            raise failures[-1]
        return [None if isinstance(one, BackendError) else one for one in tried]

    def _workers(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(sum(len(line.pool) for line in self._lines), "rkdeploy-then")
            return self._executor


class _RecognizerPool:
    """One recognizer with its contexts."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.pool = DetectorPool(recognizer.runtimes, recognizer.spec, recognizer.thresholds)

    def answer(self, image: NDArray[np.uint8], region: Region) -> NestedResult | BackendError:
        """The answer for a part of an image, or why there is none."""
        try:
            found = self.pool(region.cut(image))
        except BackendError as error:
            return error
        return self.recognizer.result(in_frame(found, region, (image.shape[0], image.shape[1])))
