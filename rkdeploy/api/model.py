"""A bundle that is ready to detect: `load` and `Model`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.api.bundles import bundle_of
from rkdeploy.api.result import Result
from rkdeploy.api.stream import Stream
from rkdeploy.api.then import ThenLike, links_of
from rkdeploy.api.tracking import Points, tracking_settings
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.chain.recognizer import Recognizer
from rkdeploy.device.gallery.gallery import DEFAULT_MATCH, Gallery
from rkdeploy.device.gallery.gallery_options import GalleryOptions
from rkdeploy.device.gallery.open_gallery import open_gallery
from rkdeploy.device.postprocess.thresholds import DEFAULT_IOU, Thresholds, class_ids_of, default_confidence
from rkdeploy.device.runtime.backend_names import MAX_CONTEXTS
from rkdeploy.device.runtime.backends import choose_backend, open_runtimes
from rkdeploy.device.runtime.protocol import Runtime, RuntimeOptions
from rkdeploy.device.stream.chain_pool import ChainPool
from rkdeploy.device.stream.detector_pool import DetectorPool
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.array import bgr_image
from rkdeploy.images.file import read_image

if TYPE_CHECKING:
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.sources.source import Source

ImageLike = NDArray[Any] | str | os.PathLike[str] | None
"""An image (H, W, 3) uint8 BGR as `cv2.imread` gives it, or the path of an image file.

None is what `cv2.imread` gives for a file that it cannot read: it is refused with that explanation."""

_LOG = logging.getLogger(__name__)
_MAX_DET = 300


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    then: ThenLike | Iterable[ThenLike] | None = None,
    gallery: str | os.PathLike[str] | None = None,
    match: float = DEFAULT_MATCH,
    conf: float | None = None,
    class_conf: Mapping[str | int, float] | None = None,
    classes: Iterable[str | int] | None = None,
    iou: float = DEFAULT_IOU,
    max_det: int = _MAX_DET,
    backend: str = "auto",
    cores: Sequence[int] | None = None,
    contexts: int | None = None,
    toolkit_python: str | os.PathLike[str] | None = None,
    recording: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a bundle that `rkdeploy build` or `rkdeploy.build` made.

        with rkdeploy.load("build/best-rk3588-int8") as model:
            result = model("photo.jpg")
            print(result.boxes.xyxy, result.boxes.confidence, result.boxes.class_id)

    Args:
        bundle: the bundle's folder or its `.rknn`; None takes the only or newest one in `.` or `./build`, on a board
            the installed one.
        then: further models of a chain, which look at each object that this one finds: bundles, or `Then` with options.
        gallery: what embeddings are named by: a folder with one folder of pictures per name, which are read here, or a
            `.npz` that `rkdeploy run --save-gallery` wrote.
        match: lowest cosine at which a name of the gallery is given.
        conf: confidence threshold, 0..1; a detection is kept when its confidence is greater.  None takes 0.25, for
            areas of text that of the contract (0.6).
        class_conf: class name or id -> threshold that replaces `conf` for that class.
        classes: names or ids of the classes that are kept; None keeps all.
        iou: IoU threshold of non-maximum suppression, 0..1.
        max_det: maximum number of detections per image.
        backend: what runs the network: `auto` (the NPU on a board, else onnxruntime, else OpenCV), `librknnrt`,
            `rknnlite`, `onnxruntime`, `opencv_dnn`, `simulator` or `replay`.
        cores: NPU cores; None takes all that the board has.
        contexts: number of contexts of each model, spread over the cores in turn; None takes one per core.
        toolkit_python: interpreter that has rknn-toolkit2, for the simulator; None takes this one.
        recording: folder that `replay` plays.

    Returns:
        A model.  Its contexts are opened when they are first used and closed at the end of the `with` block.

    Raises:
        BundleError: when there is no bundle, or it is damaged.
        BackendError: when the backend does not exist or its package is missing, or for a number of contexts out of
            range.
        RkdeployError: for an unknown class, or a threshold out of range.
    """
    if contexts is not None and not 1 <= contexts <= MAX_CONTEXTS:
        raise BackendError(f"contexts is {contexts}, expected 1 to {MAX_CONTEXTS}.")
    read = bundle_of(bundle)
    names = read.spec.class_names
    conf = default_confidence(read.spec) if conf is None else conf
    thresholds = Thresholds(
        confidence=conf,
        per_class=_per_class(names, conf, class_conf or {}, classes),
        iou=iou,
        max_det=max_det,
    )
    options = RuntimeOptions(
        toolkit_python=None if toolkit_python is None else Path(toolkit_python),
        recording=None if recording is None else Path(recording),
    )
    chosen = choose_backend().backend if backend == "auto" else backend
    links = links_of(read.spec, then)

    def open_recognizers() -> list[Recognizer]:
        return [link.recognizer(open_runtimes(chosen, link.bundle, cores, options, contexts)) for link in links]

    def gallery_by(detect: Callable[[NDArray[Any]], Detections]) -> Gallery | None:
        asked = GalleryOptions(None if gallery is None else Path(gallery), match)
        return open_gallery(asked, [read, *(link.bundle for link in links)], detect, _LOG.warning)

    return Model(
        read,
        thresholds,
        chosen,
        lambda: open_runtimes(chosen, read, cores, options, contexts),
        open_recognizers if links else None,
        gallery_by,
    )


class Model:
    """A bundle with thresholds on a backend.  Made by `load`.

    Calling it detects in one image, from any thread: as many calls run at a time as the model has contexts (one per NPU
    core), and further ones wait.  `stream` runs a pipeline over a source, `infer` is for asyncio.

    Args:
        bundle: the bundle to run.
        thresholds: limits of the detections to keep.
        backend: name of the backend.
        open_contexts: makes the contexts, not entered; called once for calls and once for each stream.
        open_recognizers: makes the further models of a chain, each with contexts of its own; None without a chain.
        open_gallery: makes the gallery with a function that detects in an image; None for none.

    Attributes:
        bundle: the bundle.
        thresholds: limits of the detections to keep.
        backend: name of the backend.
    """

    def __init__(
        self,
        bundle: Bundle,
        thresholds: Thresholds,
        backend: str,
        open_contexts: Callable[[], Sequence[Runtime]],
        open_recognizers: Callable[[], Sequence[Recognizer]] | None = None,
        open_gallery: Callable[[Callable[[NDArray[Any]], Detections]], Gallery | None] | None = None,
    ) -> None:
        self.bundle = bundle
        self.thresholds = thresholds
        self.backend = backend
        self._open_contexts = open_contexts
        self._open_recognizers = open_recognizers
        detector = DetectorPool(open_contexts(), bundle.spec, thresholds)
        self._pool = detector if open_recognizers is None else ChainPool(detector, open_recognizers())
        self._gallery = None if open_gallery is None else self._opened(open_gallery)
        self._executor: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def _opened(self, make: Callable[[Callable[[NDArray[Any]], Detections]], Gallery | None]) -> Gallery | None:
        """The gallery; the contexts are closed when it cannot be made."""
        try:
            return make(self._pool)
        except BaseException:
            self._pool.close()
            raise

    @property
    def spec(self) -> ModelSpec:
        """The model's contract: input, outputs, anchors, classes."""
        return self.bundle.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by class id."""
        return self.bundle.spec.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the backend for the user: versions that do not match, an NPU that is not used."""
        return self._pool.notes

    def __repr__(self) -> str:
        return f"<Model {self.bundle.folder.name} on {self.backend}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for calls in progress, then close the contexts.  Later calls raise BackendError."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        self._pool.close()

    @overload
    def __call__(self, image: ImageLike) -> Result: ...
    @overload
    def __call__(self, image: list[ImageLike] | tuple[ImageLike, ...]) -> list[Result]: ...
    def __call__(self, image: ImageLike | list[ImageLike] | tuple[ImageLike, ...]) -> Result | list[Result]:
        """Detect in one image, or in each of a list.

        Args:
            image: (H, W, 3) uint8 BGR as `cv2.imread` gives it, of any size; the path of an image file; or a list of
                these.

        Returns:
            What was found, in pixels of the image; for a list one result each, in its order.

        Raises:
            SourceError: when a file cannot be read, or the array is not an image.
            BackendError: when the runtime failed, or the model is closed.
        """
        if isinstance(image, (list, tuple)):
            return [self._one(one, index) for index, one in enumerate(image)]
        return self._one(image, 0)

    async def infer(self, image: ImageLike) -> Result:
        """Detect in one image without blocking the event loop; calls run side by side, one per context.

        Args:
            image: as for a call.

        Raises:
            SourceError, BackendError: as a call does.
        """
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(len(self._pool), "rkdeploy-infer")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._one, image, 0)

    def stream(
        self,
        *sources: str | os.PathLike[str] | int | Source | Iterable[NDArray[Any]],
        max_frames: int | None = None,
        on_notice: Callable[[str], None] | None = None,
        track: bool = False,
        track_buffer: float = 1.0,
        track_low: float = 0.1,
        track_per_class: bool = False,
        lines: Mapping[str, Points] | None = None,
        zones: Mapping[str, Points] | None = None,
        anchor: Literal["center", "bottom"] = "center",
    ) -> Stream:
        """Detect in everything that a source gives, with all contexts busy, in order.

            for result in model.stream("rtsp://10.0.0.7/cam1", "/dev/video0"):
                print(result.source, result.index, result.counts())

        Frames of files all come, in order.  Of cameras and streams the newest frame wins when the loop or the network
        is slower than they are; `Stream.stats` counts what was dropped.

        Args:
            sources: an image, a folder, a pattern, a video, a stream's address, a camera (`/dev/video0` or its number),
                or an iterable of images.  Several: files one after the other, cameras and streams at the same time.
            max_frames: end after this many frames; None reads to the end.
            on_notice: called with one sentence when a camera or stream is lost, and when it is back.
            track: whether objects get ids that last from frame to frame (`Boxes.track_id`).
            track_buffer: seconds that an object keeps its id while it is not detected.
            track_low: score above which a detection continues a track, although it is below the threshold.
            track_per_class: whether each class is tracked by itself; by default an id belongs to an object, whose class
                is voted over its life.
            lines: name -> two points: tracks that cross it are counted in `Result.lines`.
            zones: name -> three or more corners: tracks inside are counted in `Result.zones`.
            anchor: point of a box that lines and zones look at: its center, or the middle of its lower side.

        Returns:
            An iterator of results, which begins to read when the first one is asked for.  Leaving the loop ends it.

        Raises:
            SourceError: when a source is not known; while iterating, when one cannot be opened or read.
            RkdeployError: for tracking with a model that finds no objects, and for lines and zones that are none.
        """
        from rkdeploy.api.sources import sources_of
        from rkdeploy.device.stream.sources.several import combined

        return Stream(
            combined(sources_of(sources, on_notice)),
            self._open_contexts,
            self.bundle.spec,
            self.thresholds,
            max_frames,
            self._open_recognizers or tuple,
            self._gallery,
            tracking_settings(
                self.bundle.spec,
                self.thresholds,
                track=track,
                track_buffer=track_buffer,
                track_low=track_low,
                track_per_class=track_per_class,
                lines=lines,
                zones=zones,
                anchor=anchor,
            ),
        )

    def _one(self, image: ImageLike, index: int) -> Result:
        if isinstance(image, (str, os.PathLike)):
            path = Path(image)
            array, source = read_image(path), path.as_posix()
        else:
            array, source = bgr_image(image), ""
        found = self._pool(array)
        named = found if self._gallery is None else self._gallery.named(found)
        return Result(array, self.names, named, source, index)


def _per_class(
    names: Sequence[str], conf: float, class_conf: Mapping[str | int, float], classes: Iterable[str | int] | None
) -> dict[int, float]:
    """Thresholds by class id; 1, which no confidence exceeds, for classes that are not wanted."""
    chosen = {class_id: value for named, value in class_conf.items() for class_id in class_ids_of(named, names)}
    if classes is None:
        return chosen
    if isinstance(classes, str):
        raise RkdeployError(f'classes is "{classes}", expected a list.', f'Write classes=["{classes}"].')
    wanted = {class_id for named in classes for class_id in class_ids_of(named, names)}
    return {i: chosen.get(i, conf) if i in wanted else 1.0 for i in range(len(names))}


__all__ = ["ImageLike", "Model", "load"]
