"""Head tensors recorded on one machine and replayed on another: for tests and bug reports.

A recording is a folder:

    index.jsonl      one line about the recording, then one per frame: file, SHA-256 of the network input
    000000.npz ...   the head tensors of a frame, in the layout in which the runtime gave them

Frames are found by their input, so a recording can be replayed in any order and for any number of contexts; an input
that was not recorded is an error, never another frame's boxes.  `rkdeploy.device.runtime.recording` writes them.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from rkdeploy.device.runtime.contract_check import require_image
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.protocol import RuntimeOptions

FOLDER_VARIABLE: Final = "RKDEPLOY_REPLAY"
INDEX: Final = "index.jsonl"
SCHEMA: Final = 1


class Heading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First line of the index: schema version, and the backend that was recorded."""

    replay_schema: int
    figures_from: str


class RecordedFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the index: the frame's file, and the SHA-256 of its network input."""

    file: str
    input_sha256: str


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> Replay:
    """The recording in the folder given by the options, or else by $RKDEPLOY_REPLAY.

    Raises:
        BackendError: when neither is set.
    """
    del core  # not used: a recording has no cores
    folder = options.recording or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise BackendError(
            'The backend "replay" needs a recording.',
            f"Name its folder by --replay, or in the environment variable {FOLDER_VARIABLE}.",
        )
    return Replay(Path(folder), bundle.spec)


class Replay:
    """Runtime that replays a recording.  See `rkdeploy.device.runtime.protocol.Runtime`.

    Args:
        folder: of the recording.
        spec: contract of the model that was recorded.

    Entering raises:
        BackendError: when the folder holds no recording.
    """

    name = "replay"

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        self.figures_from = "a recording"  # replaced on opening
        self.notes: tuple[str, ...] = ()
        self._folder = folder
        self._spec = spec
        self._frames: dict[str, list[str]] | None = None

    def __enter__(self) -> Self:
        heading, frames = _read_index(self._folder)
        self.figures_from = f"a recording of {heading.figures_from}"
        self._frames = defaultdict(list)
        for frame in frames:
            self._frames[frame.input_sha256].append(frame.file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames = None

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """The tensors that were recorded for this image; those of an image recorded several times are returned in turn.

        Raises:
            BackendError: when the image was not recorded, or its file is damaged or of another model.
        """
        if self._frames is None:
            raise BackendError(f'The backend "{self.name}" is not open.', "Use it as a context manager.")
        require_image(image, self._spec.input)
        files = self._frames.get(input_sha256(image))
        if not files:
            raise BackendError(f'The recording "{self._folder}" does not hold this image.', "Play the recorded source.")
        file = files.pop(0)
        files.append(file)
        tensors = _read_tensors(self._folder / file)
        shapes, expected = [t.shape for t in tensors], [output.shape for output in self._spec.outputs]
        if shapes != expected:
            raise BackendError(f'"{self._folder / file}" has the outputs {shapes}, expected {expected}.')
        return tensors


def input_sha256(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's bytes: the key of a recorded frame."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def _read_tensors(path: Path) -> tuple[HeadTensor, ...]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return tuple(
                HeadTensor(arrays[f"values{number}"], float(scale), int(zero_point), int(packed) or None)
                for number, (scale, zero_point, packed) in enumerate(arrays["facts"])
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BackendError(f'"{path}" is not a recorded frame: {error}.', "Copy the recording again.") from error


def _read_index(folder: Path) -> tuple[Heading, list[RecordedFrame]]:
    try:
        first, *rest = (folder / INDEX).read_bytes().splitlines() or [b""]
        heading = msgspec.json.decode(first, type=Heading)
        frames = [msgspec.json.decode(line, type=RecordedFrame) for line in rest]
    except OSError as error:
        raise BackendError(f'"{folder}" holds no recording: {INDEX}: {error.strerror}.') from error
    except msgspec.DecodeError as error:
        raise BackendError(f'"{folder / INDEX}" is not the index of a recording: {error}.') from error
    if heading.replay_schema != SCHEMA:
        raise BackendError(f'"{folder}" has replay schema {heading.replay_schema}, expected {SCHEMA}.')
    for frame in frames:
        if Path(frame.file).name != frame.file:
            raise BackendError(f'"{folder / INDEX}" names "{frame.file}", which is outside the recording.')
    return heading, frames
