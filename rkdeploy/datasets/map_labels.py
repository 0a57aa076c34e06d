"""Labels of maps of the whole image: a file of class ids or of depths next to each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkdeploy.datasets.data_yaml import images_in_folder, relative_posix
from rkdeploy.datasets.depth_files import DEPTH_FOLDER, DEPTH_SUFFIXES, depth_file
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet
from rkdeploy.datasets.yolo_labels import beside_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.spec import ModelSpec

MASK_SUFFIX: Final = ".png"
_NAMED: Final = 3


def mask_files(files: Sequence[Path], spec: ModelSpec, notes: list[str]) -> list[tuple[Path, ...]]:
    """Files of the class maps of every image; empty if the data has none.

    Raises:
        DataError: when some are missing.
    """
    if not spec.class_maps:
        return []
    folders = ["masks"] if len(spec.class_maps) == 1 else [f"masks_{found.output}" for found in spec.class_maps]
    found = [tuple(beside_images(file, folder, MASK_SUFFIX) for folder in folders) for file in files]
    missing = [path for paths in found for path in paths if not path.is_file()]
    if len(missing) == len(files) * len(folders):
        notes.append(f'The class maps are not evaluated: there is no mask such as "{missing[0]}".')
        return []
    if missing:
        raise DataError(f'{len(missing)} masks are missing, such as "{missing[0]}".')
    return found


def depth_set(files: Sequence[Path], root: Path, source: str) -> LabeledSet:
    """Images with the depth of each, in the folder `depth` in the place of `images`.

    Images without one are left out, with a note: depth cameras miss frames.

    Args:
        files: the images.
        root: of the data set, which names are relative to.
        source: of the images, for users.

    Raises:
        DataError: when no image has a depth.
    """
    paired = [(file, depth_file([beside_images(file, DEPTH_FOLDER, s) for s in DEPTH_SUFFIXES])) for file in files]
    images = tuple(
        DataImage(relative_posix(file, root), file, depth=depth) for file, depth in paired if depth is not None
    )
    missing = [file for file, depth in paired if depth is None]
    if not images:
        looked = beside_images(files[0], DEPTH_FOLDER, ".npy") if files else root / DEPTH_FOLDER
        raise DataError(
            f'No image of the {source} has a depth: looked for files such as "{looked}" or a .png.',
            "Depths are next to the images, with the folder `images` replaced by `depth`: .npy in meters, or 16-bit "
            ".png in millimeters.",
        )
    named = ", ".join(f'"{file.name}"' for file in missing[:_NAMED])
    notes = (f"{len(missing)} images have no depth and were left out, such as {named}.",) if missing else ()
    return LabeledSet(source, images, None, notes=notes)


def folder_of_images(data: Path) -> tuple[Path, ...]:
    """The images of a folder without a data.yaml, in its folder `images`; empty without one."""
    inside = data / "images"
    return images_in_folder(inside) if inside.is_dir() else ()


def mask_set(files: Sequence[Path], root: Path, spec: ModelSpec, source: str) -> LabeledSet:
    """Images with the class map of each, in the folder `masks` in the place of `images`.

    Raises:
        DataError: when there is none, or some are missing.
    """
    notes: list[str] = []
    maps = mask_files(files, spec, notes)
    if not maps:
        raise DataError(f"No image of the {source} has a class map. {' '.join(notes)}")
    images = (DataImage(relative_posix(file, root), file, maps=found) for file, found in zip(files, maps, strict=True))
    return LabeledSet(source, tuple(images), None)
