"""The calibration set: images on which INT8 quantization measures its ranges, and held-out images for the proof.

The choice is seeded and the same on every machine: each image's rank is the SHA-256 of the seed and its relative POSIX
path, so it depends neither on the order of a file system nor on the Python version, and adding or removing an image
leaves the rest of the choice unchanged.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from rkdeploy.datasets.calibration_warnings import content_faults, content_warnings, named, thumbnail
from rkdeploy.datasets.data_yaml import (
    YAML_SUFFIXES,
    DataYaml,
    images_in_folder,
    images_in_list,
    read_data_yaml,
    relative_posix,
)
from rkdeploy.errors import CalibrationError, SourceError
from rkdeploy.images.file import IMAGE_SUFFIXES, decode_image, is_image_name, read_image_bytes
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

DEFAULT_FOLDER = "calib_data"
_FORMS = "Give a folder of images, a text file with one image path per line, or a YOLO data.yaml."
_WAY_OUT = (
    "INT8 needs 40 or more images like those the model will see: 20 to calibrate on, the others to judge it.  "
    f"Give a folder, a list file or a data.yaml with --calib, or put images into ./{DEFAULT_FOLDER}."
)


@dataclass(frozen=True, slots=True)
class CalibrationImage:
    """One image of the set.

    Attributes:
        path: POSIX path relative to the set's root (the folder, the list's folder, or the data.yaml's root).
        sha256: of the file's bytes, in hex.
        width, height: in pixels, as decoded (EXIF orientation applied).
        file: path on this machine.  Not part of its identity.
    """

    path: str
    sha256: str
    width: int
    height: int
    file: Path = field(repr=False, compare=False)

    def read(self) -> NDArray[np.uint8]:
        """The decoded image, (H, W, 3) uint8 BGR.

        Raises:
            CalibrationError: when the file changed since it was chosen.
            SourceError: when it can no longer be read.
        """
        data = read_image_bytes(self.file)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise CalibrationError(
                f'Calibration image "{self.path}" changed while the build ran.', "Start the build again."
            )
        return decode_image(data, self.path)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images that calibration never saw, for the proof of the INT8 model.

    Attributes:
        source: their origin, for users.
        images: sorted by path; fewer than requested, or none, when the set is small.
        note: a remark for the user (too few, none, unreadable ones); empty if there is nothing to report.
    """

    source: str
    images: tuple[CalibrationImage, ...]
    note: str


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """The chosen images.

    Attributes:
        source: their origin, for users.
        seed: of the choice.
        images: sorted by path.
        warnings: remarks on the set for the user, one or two sentences each.
        faults: reasons why the set is worthless; a gate on accuracy refuses it.
    """

    source: str
    seed: int
    images: tuple[CalibrationImage, ...]
    warnings: tuple[str, ...]
    _unused: _Candidates = field(repr=False, compare=False)
    _validation: _Candidates | None = field(repr=False, compare=False)
    _pixel_hashes: frozenset[str] = field(repr=False, compare=False)
    faults: tuple[str, ...] = ()

    def held_out(self, n: int) -> HeldOut:
        """Up to `n` images that were not used for calibration, neither as a file nor as the same pixels.

        From the data.yaml's val split if there is one other than the split used for calibration, else from the rest of
        the same images.  Chosen with the same seed.
        """
        notes: list[str] = []
        for candidates in (self._validation, self._unused):
            if candidates is None:
                continue
            reading = _read(candidates, self.seed, n, exclude=self._pixel_hashes)
            if reading.broken:
                notes.append(f"{len(reading.broken)} images cannot be read and were left out: {named(reading.broken)}.")
            if reading.images or n < 1:
                if len(reading.images) < n:
                    notes.append(
                        f"Only {len(reading.images)} of the {n} requested images are left outside the calibration set."
                    )
                return HeldOut(candidates.source, reading.images, " ".join(notes))
        notes.append(
            "No image is left outside the calibration set, so INT8 cannot be proven on images that it has not seen. "
            "Add images, name a val split in the data.yaml, or lower the number of calibration images."
        )
        return HeldOut(self.source, (), " ".join(notes))


class PreparedImage(Protocol):
    """The part of `rkdeploy.images.fit.Letterbox`'s result that is used here."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(1, height, width, 3) uint8, in a buffer that may be reused for the next image."""
        ...


def find_calibration(option: Path | None, cwd: Path, count: int, seed: int) -> CalibrationSet:
    """Find the calibration images and choose `count` of them.

    Args:
        option: a folder (with all below it, or the splits of its data.yaml), a text list of image paths, or a
            data.yaml.
            From a data.yaml the train split is used, else val.  None looks for `calib_data` in `cwd`.
        cwd: folder that a relative option is relative to.
        count: largest number of images.
        seed: of the choice.

    Raises:
        CalibrationError: when nothing usable is found.  There is no default: quantization on random data
            gives a model that looks valid and detects nothing.
    """
    if count < 1:
        raise CalibrationError(f"The number of calibration images is {count}, expected 1 or more.")
    candidates, validation, warnings = _candidates(option, cwd)
    reading = _read(candidates, seed, count)
    _LOG.debug(
        "%s: %d of %d images that were tried, seed %d", candidates.source, len(reading.images), reading.tried, seed
    )
    if len(reading.broken) * 2 > reading.tried:
        raise CalibrationError(
            f"{len(reading.broken)} of {reading.tried} calibration images from {candidates.source} cannot be read: "
            f"{named(reading.broken)}.",
            "Replace the damaged files, or give another set with --calib.",
        )
    if reading.broken:
        warnings.append(f"{len(reading.broken)} images cannot be read and were left out: {named(reading.broken)}.")
    if reading.duplicates:
        warnings.append(
            f"{len(reading.duplicates)} images have the same pixels as another and were left out: "
            f"{named(reading.duplicates)}."
        )
    sizes = [(image.path, image.width, image.height) for image in reading.images]
    warnings.extend(content_warnings(sizes, reading.thumbnails))
    return CalibrationSet(
        source=candidates.source,
        seed=seed,
        images=reading.images,
        warnings=tuple(warnings),
        _unused=reading.rest,
        _validation=validation,
        _pixel_hashes=reading.pixel_hashes,
        faults=tuple(content_faults(reading.thumbnails, len(reading.duplicates))),
    )


def require_candidates(option: Path | None, cwd: Path) -> None:
    """Check that there are files to choose calibration images from, without reading any: see `find_calibration`.

    Raises:
        CalibrationError: when there are none.
    """
    _candidates(option, cwd)


def load_letterboxed(
    images: CalibrationSet | HeldOut,
    letterbox: Callable[[NDArray[np.uint8]], PreparedImage],
    layout: Literal["nhwc", "nchw"] = "nhwc",
) -> Iterator[NDArray[np.uint8]]:
    """The images as network inputs, one at a time, in the order of `images.images`.

    Args:
        images: a calibration set or its held-out images.
        letterbox: converts (H, W, 3) uint8 BGR to the network's input, `rkdeploy.images.fit.Letterbox(spec.input)`.
        layout: `nhwc` gives (1, height, width, 3); `nchw` gives (1, 3, height, width), the layout of `.npy` calibration
            files for the vendor's toolkit.

    Yields:
        uint8, contiguous, in memory of its own.

    Raises:
        CalibrationError: when a file changed since it was chosen.
        SourceError: when a file can no longer be read.
    """
    for image in images.images:
        boxed = letterbox(image.read()).image
        yield np.array(boxed.transpose(0, 3, 1, 2) if layout == "nchw" else boxed, np.uint8, order="C", copy=True)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Files that images may be chosen from."""

    source: str
    root: Path
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Result of reading candidates."""

    images: tuple[CalibrationImage, ...]
    thumbnails: NDArray[np.float32]  # (len(images), side * side)
    pixel_hashes: frozenset[str]
    broken: tuple[str, ...]
    duplicates: tuple[str, ...]
    tried: int
    rest: _Candidates


def _candidates(option: Path | None, cwd: Path) -> tuple[_Candidates, _Candidates | None, list[str]]:
    """Candidates for calibration, the val split for held-out images if there is one, and warnings."""
    given = option is not None
    path = Path(os.path.normpath(cwd / (option.expanduser() if option is not None else DEFAULT_FOLDER)))
    shown = readable_name(f'"{option}"') if given else f'"./{DEFAULT_FOLDER}"'
    if not path.exists():
        if given:
            raise CalibrationError(f"Calibration set {shown} does not exist (looked for {path}).", _FORMS)
        raise CalibrationError(f"No calibration images: none were given, and there is no {shown} in {cwd}.", _WAY_OUT)
    if path.is_dir():
        yaml = next((path / name for name in ("data.yaml", "data.yml") if (path / name).is_file()), None)
        if yaml is not None:
            return _from_data_yaml(read_data_yaml(yaml, cwd), f"{shown[:-1]}/{yaml.name}")
        found = _Candidates(f"folder {shown}", path, images_in_folder(path))
        if not found.files:
            raise CalibrationError(
                f"Folder {shown} holds no images and no data.yaml, expected {', '.join(sorted(IMAGE_SUFFIXES))}.",
                _WAY_OUT,
            )
        return found, None, []
    if path.suffix.lower() in YAML_SUFFIXES:
        return _from_data_yaml(read_data_yaml(path, cwd), shown[:-1])
    if is_image_name(path.name):
        raise CalibrationError(f"Calibration set {shown} is a single image, expected a set.", _FORMS)
    if not path.is_file():
        raise CalibrationError(f"Calibration set {shown} is neither a folder nor a file.", _FORMS)
    return _Candidates(f"list file {shown}", path.parent, images_in_list(path)), None, []


def _from_data_yaml(data: DataYaml, shown: str) -> tuple[_Candidates, _Candidates | None, list[str]]:
    """Candidates from a data.yaml; `shown` is the quoted path without its closing quote."""
    if data.train is None and data.val is None:
        raise CalibrationError(f'{shown}" names no "train" and no "val" split.', "Add the folder of images as train.")
    chosen = [
        (split.name, _Candidates(f'{split.name} split of {shown}"', data.root, split.files))
        for split in (data.train, data.val)
        if split is not None and split.files
    ]
    missing = [path for split in (data.train, data.val) if split is not None for path in split.missing]
    if not chosen:
        where = "looked for " + ", ".join(f'"{path}"' for path in missing) if missing else "the folders are empty"
        raise CalibrationError(
            f'No image of {shown}" is on this machine: {where}.',
            'Correct "path", "train" or "val" in it, or give a folder of images with --calib.',
        )
    warnings: list[str] = []
    name, candidates = chosen[0]
    if data.train is not None and data.train.missing:
        looked_for = ", ".join(f'"{path}"' for path in data.train.missing)
        instead = "so the val split was used" if name == "val" else "the rest of the split was used"
        warnings.append(f'The train split of {shown}" is not complete on this machine: no {looked_for}; {instead}.')
    return candidates, (chosen[1][1] if len(chosen) > 1 else None), warnings


def _read(candidates: _Candidates, seed: int, count: int, exclude: frozenset[str] = frozenset()) -> _Reading:
    """Read candidates in the order of their rank until `count` different images are found.

    Args:
        candidates: files to choose from.
        seed: of the choice.
        count: number of images to find.
        exclude: pixel hashes that count as seen.
    """
    ranked = _ranked(candidates, seed)
    images: list[CalibrationImage] = []
    thumbnails: dict[str, NDArray[np.float32]] = {}
    hashes: set[str] = set()
    broken: list[str] = []
    duplicates: list[str] = []
    tried = 0
    for name, file in ranked:
        if len(images) >= count:
            break
        tried += 1
        try:
            data = read_image_bytes(file)
            picture = decode_image(data, name)
        except SourceError as error:
            broken.append(f"{name} ({_reason(error, name, file)})")
            continue
        height, width = picture.shape[:2]
        pixels = hashlib.sha256(f"{width}x{height}:".encode())
        pixels.update(picture.data)
        if pixels.hexdigest() in hashes or pixels.hexdigest() in exclude:
            duplicates.append(name)
            continue
        hashes.add(pixels.hexdigest())
        images.append(CalibrationImage(name, hashlib.sha256(data).hexdigest(), width, height, file))
        thumbnails[name] = thumbnail(picture)
    images.sort(key=lambda image: image.path)
    return _Reading(
        images=tuple(images),
        thumbnails=np.array([thumbnails[image.path] for image in images], np.float32),
        pixel_hashes=frozenset(hashes),
        broken=tuple(broken),
        duplicates=tuple(duplicates),
        tried=tried,
        rest=_Candidates(candidates.source, candidates.root, tuple(file for _, file in ranked[tried:])),
    )


def _ranked(candidates: _Candidates, seed: int) -> Sequence[tuple[str, Path]]:
    named_files = sorted((relative_posix(file, candidates.root), file) for file in candidates.files)

    def rank(named_file: tuple[str, Path]) -> bytes:
        return hashlib.sha256(f"{seed}:{named_file[0]}".encode("utf-8", "surrogateescape")).digest()

    return sorted(named_files, key=rank)


def _reason(error: SourceError, name: str, file: Path) -> str:
    """The error's message without the name, which already precedes it."""
    return error.message.removeprefix(f'Image "{name}" ').removeprefix(f'Image "{file}" ').removesuffix(".")
