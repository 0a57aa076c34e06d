"""Recorder of runtimes' answers into a folder, for the backend `replay`, which documents the format."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rkdeploy.device.runtime.replay import INDEX, SCHEMA, Heading, RecordedFrame, input_sha256
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.runtime.protocol import HeadTensor, Runtime


def recorded(runtimes: Sequence[Runtime], folder: Path) -> list[RecordingRuntime]:
    """Runtimes that do what the given ones do, and record it together in one folder, new or empty."""
    recording = Recording(folder)
    return [RecordingRuntime(runtime, recording) for runtime in runtimes]


class Recording:
    """A folder of recorded frames.  It can be replayed from wherever the writing stops.  Thread-safe.

    Args:
        folder: new or empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._begun = False
        self._count = 0

    def begin(self, figures_from: str) -> None:
        """Create the folder and its index, unless that is done already.

        Args:
            figures_from: see `Runtime.figures_from`.

        Raises:
            RkdeployError: when the folder is not empty, or cannot be written.
        """
        with self._lock:
            if self._begun:
                return
            try:
                if self._folder.exists() and any(self._folder.iterdir()):
                    raise RkdeployError(f'"{self._folder}" is not empty; a recording needs a folder of its own.')
                self._folder.mkdir(parents=True, exist_ok=True)
                self._append(Heading(SCHEMA, figures_from))
            except OSError as error:
                raise self._unwritable(error) from error
            self._begun = True

    def add(self, image: NDArray[np.uint8], tensors: Sequence[HeadTensor]) -> None:
        """Record one frame.

        Args:
            image: the network input, (1, H, W, 3) uint8.
            tensors: the runtime's outputs for it.

        Raises:
            RkdeployError: when it cannot be written; the run ends, because its recording has a gap.
        """
        with self._lock:
            number, self._count = self._count, self._count + 1
        file = f"{number:06}.npz"
        try:
            _write_tensors(self._folder / file, tensors)
            with self._lock:
                self._append(RecordedFrame(file, input_sha256(image)))
        except OSError as error:
            raise self._unwritable(error) from error

    def _append(self, line: Heading | RecordedFrame) -> None:
        with (self._folder / INDEX).open("ab") as index:
            index.write(msgspec.json.encode(line) + b"\n")

    def _unwritable(self, error: OSError) -> RkdeployError:
        return RkdeployError(f'Cannot record into "{self._folder}": {error.strerror or error}.')


class RecordingRuntime:
    """A runtime that also records what another one answers.

    Args:
        runtime: not yet open; it is opened and closed with the recorder.
        recording: target; shared by several recorders.

    Entering raises:
        RkdeployError: when the recording cannot be created, or the runtime cannot be opened.
    """

    def __init__(self, runtime: Runtime, recording: Recording) -> None:
        self.name = runtime.name
        self.figures_from, self.notes = runtime.figures_from, runtime.notes
        self._runtime = runtime
        self._recording = recording

    def __enter__(self) -> Self:
        self._runtime.__enter__()
        try:
            self._recording.begin(self._runtime.figures_from)
        except BaseException as error:
            self._runtime.__exit__(type(error), error, error.__traceback__)
            raise
        self.figures_from, self.notes = self._runtime.figures_from, self._runtime.notes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime.__exit__(kind, error, trace)

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """See `rkdeploy.device.runtime.protocol.Runtime.infer`; a frame that failed is not recorded.

        Raises:
            BackendError: as the runtime raises it.
            RkdeployError: when the recording cannot be written.
        """
        tensors = self._runtime.infer(image)
        self._recording.add(image, tensors)
        return tensors


def _write_tensors(path: Path, tensors: Sequence[HeadTensor]) -> None:
    arrays = {f"values{number}": tensor.values for number, tensor in enumerate(tensors)}
    # scale, zero point, packed channels (0 for none)
    facts = np.array([(t.scale, t.zero_point, t.packed_channels or 0) for t in tensors], np.float64)
    np.savez_compressed(path, facts=facts, **arrays)
