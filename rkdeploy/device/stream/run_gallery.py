"""The gallery of a run, made by the run's own models before its first frame."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rkdeploy.device.gallery.open_gallery import open_gallery
from rkdeploy.device.runtime.backends import open_runtimes
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.device.stream.chain_pool import ChainPool
from rkdeploy.device.stream.detector_pool import DetectorPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.chain.open_chain import ChainLink
    from rkdeploy.device.gallery.gallery import Gallery
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.run_options import RunOptions


def gallery_of(
    bundle: Bundle,
    links: Sequence[ChainLink],
    thresholds: Thresholds,
    options: RunOptions,
    on_left_out: Callable[[str], None],
) -> Gallery | None:
    """The gallery that a run's options name; None without one.  Its contexts are closed again.

    Args:
        bundle: of the first model.
        links: further models.
        thresholds: of the first model.
        options: of the run.
        on_left_out: called with a sentence for each picture that gives no embedding.

    Raises:
        RkdeployError: see `open_gallery`.
    """

    def runtimes(of: Bundle) -> Sequence[Runtime]:
        given = RuntimeOptions(toolkit_python=options.toolkit_python, recording=options.replay)
        return open_runtimes(options.backend, of, options.cores, given)[:1]

    with ExitStack() as stack:

        def detect(image: NDArray[np.uint8]) -> Detections:
            if not pools:
                detector = DetectorPool(runtimes(bundle), bundle.spec, thresholds)
                recognizers = [link.recognizer(runtimes(link.bundle)) for link in links]
                pools.append(ChainPool(detector, recognizers) if links else detector)
                stack.callback(pools[0].close)
            return pools[0](image)

        pools: list[ChainPool | DetectorPool] = []
        return open_gallery(options.gallery, [bundle, *(link.bundle for link in links)], detect, on_left_out)
