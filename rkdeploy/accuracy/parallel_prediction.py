"""Predictions for many images, in this process or in several that each open their own runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from rkdeploy.accuracy.prediction_store import StatePart
from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.runtime.board_identity import read_board
from rkdeploy.device.runtime.cores import CoreMask, core_count
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.errors import RkdeployError
from rkdeploy.system.worker_processes import serve, work_off

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.datasets.truth import DataImage
    from rkdeploy.device.postprocess.thresholds import Thresholds

Images = Sequence["DataImage"]


@dataclass(frozen=True, slots=True)
class SharedNetwork:
    """The network that a worker opens.

    Attributes:
        bundle: folder of the bundle.
        backend: name of the runtime backend.
        thresholds, multi_label: see `Predictor`.
        options: for the backend.
    """

    bundle: Path
    backend: str
    thresholds: Thresholds
    multi_label: bool
    options: RuntimeOptions


def predict_parts(
    network: SharedNetwork, parts: Sequence[tuple[int, Images]], workers: int, on_image: Callable[[], None]
) -> Generator[tuple[int, StatePart], None, None]:
    """Predict every part and yield them as they are done; only one worker keeps the order of the parts.

    Args:
        network: network to run.
        parts: (number, images) each.
        workers: number of processes; 1 works in this one.
        on_image: called after every image.

    Raises:
        RkdeployError: when a backend cannot be opened or fails, or a worker ends without a message.
    """
    if not parts:
        return
    if workers > 1 and len(parts) > 1:
        yield from _in_processes(network, parts, min(workers, len(parts)), on_image)
        return
    with _opened(network, None) as predict:
        for number, images in parts:
            yield number, predict(images, on_image)


@contextmanager
def _opened(network: SharedNetwork, worker: int | None) -> Iterator[Callable[[Images, Callable[[], None]], StatePart]]:
    """An open runtime, as a function from images to a part."""
    bundle = read_bundle(network.bundle, check_hashes=False)
    predictor = Predictor(bundle.spec, network.thresholds, multi_label=network.multi_label)
    core = None if worker is None else _core_of(worker)
    with open_runtime(network.backend, bundle, core, network.options) as runtime:

        def predict(images: Images, on_image: Callable[[], None]) -> StatePart:
            found = []
            for image in images:
                loaded = predictor.load(image)
                if not isinstance(loaded, ImagePrediction):
                    tensors = runtime.infer(loaded.image)
                    loaded = predictor.prediction(image, tensors, loaded.transform)
                found.append(loaded)
                on_image()
            return StatePart(tuple(found), runtime.figures_from)

        yield predict


def _core_of(worker: int) -> CoreMask | None:
    """The NPU core of a worker; None leaves it to the runtime."""
    soc = read_board().soc
    cores = core_count(soc) if soc else 1
    return CoreMask.of_core(worker % cores) if cores > 1 else None


def _in_processes(
    network: SharedNetwork, parts: Sequence[tuple[int, Images]], count: int, on_image: Callable[[], None]
) -> Generator[tuple[int, StatePart], None, None]:
    with contextlib.closing(work_off(parts, count, _work, (network, count))) as messages:
        for message in messages:
            if message is None:
                on_image()
            else:
                yield message


def _work(pipe: Connection[Any, Any], index: int, network: SharedNetwork, count: int) -> None:
    """Main function of a worker: parts in; None out for each image, and then the part's predictions."""

    def handle(part: tuple[int, Images]) -> None:
        number, images = part
        pipe.send((number, predict(images, lambda: pipe.send(None))))

    try:
        with _opened(network, index) as predict:
            serve(pipe, count, handle)
    except RkdeployError as error:
        with contextlib.suppress(OSError):  # the evaluation was stopped
            pipe.send(error)
