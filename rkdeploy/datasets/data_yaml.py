"""Image files of a data set: a folder, a list file, or a YOLO `data.yaml`."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkdeploy.errors import CalibrationError, SourceError, shown
from rkdeploy.images.file import is_image_name
from rkdeploy.images.list_file import paths_in_list
from rkdeploy.system.file_names import readable_name
from rkdeploy.system.text_file import TextFileError, read_text
from rkdeploy.system.written_path import escaped_backslash, find_written, is_of_windows

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_MAX_YAML_BYTES = 4 << 20
_ESCAPES = 'In double quotes a backslash begins an escape: write paths with "/", or without the quotes.'
_MERGE_KEY = re.compile(r"<<\s*:|!!merge|tag:yaml\.org,2002:merge")


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a data.yaml.

    Attributes:
        name: `train`, `val` or `test`.
        entries: as written in the file.
        files: all images, sorted by their POSIX path relative to the data set's root; empty if none exist.
        missing: entries that are not on this machine, as the paths that were tried.
    """

    name: str
    entries: tuple[str, ...]
    files: tuple[Path, ...]
    missing: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class DataYaml:
    """A YOLO data.yaml.

    Attributes:
        path: the file.
        root: the folder that its splits are relative to.
        train, val: the splits, None if the file does not name one.
        class_names: `names`, in the order of class ids; empty when the file has none.
        test: a third split.
        keypoint_shape: `kpt_shape`, keypoints per object and numbers per keypoint; None if the file has none.
        labels: `labels`, the folder next to `images`.  An extension of ours; training always takes `labels`.
    """

    path: Path
    root: Path
    train: Split | None
    val: Split | None
    class_names: tuple[str, ...]
    test: Split | None = None
    keypoint_shape: tuple[int, int] | None = None
    labels: str = "labels"

    def split(self, name: str) -> Split | None:
        """The split of a name; None if the file does not have it."""
        return {"train": self.train, "val": self.val, "test": self.test}.get(name)


def relative_posix(path: Path, root: Path) -> str:
    """`path` relative to `root` with forward slashes, as text; neither needs to contain the other."""
    return readable_name(Path(os.path.relpath(path, root)).as_posix())


def images_in_folder(folder: Path) -> tuple[Path, ...]:
    """All image files below a folder, sorted by relative POSIX path.

    Links are followed (data sets are often linked together), each real folder once.  Hidden files and folders are
    left out.

    Raises:
        CalibrationError: when a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise CalibrationError(f'Folder "{error.filename}" cannot be listed: {error.strerror}.') from error

    found: list[Path] = []
    visited: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        found.extend(Path(here, name) for name in files if is_image_name(name))
    return tuple(sorted(found, key=lambda path: relative_posix(path, folder)))


def images_in_list(list_file: Path) -> tuple[Path, ...]:
    """The paths in a text file (`paths_in_list`), sorted by POSIX path relative to the list's folder, without
    duplicates.

    Raises:
        CalibrationError: when the list cannot be read, is not a text file, or names nothing.
    """
    try:
        paths = set(paths_in_list(list_file))
    except SourceError as error:
        raise CalibrationError(
            error.message,
            error.hint or "Give a folder of images, a text file with one path per line, or a data.yaml.",
        ) from error
    return tuple(sorted(paths, key=lambda path: relative_posix(path, list_file.parent)))


def read_data_yaml(path: Path, cwd: Path) -> DataYaml:
    """Read a YOLO data.yaml: `path`, `train`, `val`, `test`, `names`, `kpt_shape`, `labels`.

    Encodings as in `rkdeploy.system.text_file`, paths as in `rkdeploy.system.written_path`.

    A split is a folder, a list file, or a list of those, relative to `path`, which is relative to the yaml's folder or,
    if it does not exist there, to `cwd` (as in the training code); a `path` on a Windows drive is replaced by the
    yaml's
    folder.  As in Ultralytics, a split `../images/train` that does not exist is also looked for as `images/train`, the
    place in Roboflow's archives.

    Raises:
        CalibrationError: when the file cannot be read, is not a YAML mapping, or a value has the wrong type.
    """
    content = _load_yaml(path)
    root = _root(content.get("path"), path, cwd)
    return DataYaml(
        path=path,
        root=root,
        train=_split(content.get("train"), "train", root, path),
        val=_split(content.get("val", content.get("valid")), "val", root, path),
        class_names=_class_names(content.get("names"), path),
        test=_split(content.get("test"), "test", root, path),
        keypoint_shape=_keypoint_shape(content.get("kpt_shape"), path),
        labels=_labels(content.get("labels"), path),
    )


def _load_yaml(path: Path) -> dict[Any, Any]:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise CalibrationError(
            f'Reading "{path}" needs the package "pyyaml".', 'Install it with: pip install "rkdeploy[graph]"'
        ) from error
    try:
        text = read_text(path, _MAX_YAML_BYTES)
        if _MERGE_KEY.search(text):  # ten lines of merges can produce billions of entries
            raise CalibrationError(f'"{path}" merges mappings ("<<"), which a data.yaml does not need.')
        content = yaml.safe_load(text)
    except TextFileError as error:
        raise CalibrationError(f'"{path}" {error.reason}.', error.fix) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CalibrationError(
            f'"{path}" is not valid YAML: {" ".join(str(error).split())[:300]}.',
            _ESCAPES if "escape" in str(error) else "",
        ) from error
    if not isinstance(content, dict):
        raise CalibrationError(
            f'"{path}" holds a {type(content).__name__}, expected a mapping with "train" or "val".',
        )
    return content


def _root(value: object, path: Path, cwd: Path) -> Path:
    if value is None:
        return path.parent
    if not isinstance(value, str):
        raise CalibrationError(f'"path" in "{path}" is a {type(value).__name__}, expected a text.')
    _require_unescaped(value, "path", path)
    home = str(Path(value).expanduser()) if value.startswith("~") else value
    candidates = [find_written(home, base) for base in (path.parent, cwd)]
    absent = path.parent if is_of_windows(value) else candidates[0]  # a Windows path: the set was copied here
    return next((folder for folder in candidates if folder.is_dir()), absent)


def _require_unescaped(entry: str, name: str, path: Path) -> None:
    """Reject a path whose backslashes YAML took for escapes.

    Raises:
        CalibrationError: for such a path.
    """
    if escaped_backslash(entry):
        raise CalibrationError(f'"{name}" in "{path}" is {shown(entry)}, which holds a control character.', _ESCAPES)


def _split(value: object, name: str, root: Path, path: Path) -> Split | None:
    if value is None or value in ("", []):
        return None
    entries: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise CalibrationError(
            f'"{name}" in "{path}" is {shown(value)}, expected a folder, a list file, or a list of those.',
        )
    files: set[Path] = set()
    missing: list[Path] = []
    for entry in entries:
        _require_unescaped(entry, name, path)
        target = find_written(entry, root)
        if not target.exists() and entry.startswith(("../", "..\\")):
            inside = find_written(entry[3:], root)
            target = inside if inside.exists() else target
        if target.is_dir():
            files.update(images_in_folder(target))
        elif not target.exists():
            missing.append(target)
        elif is_image_name(target.name):
            files.add(target)
        else:
            files.update(images_in_list(target))
    ordered = tuple(sorted(files, key=lambda file: relative_posix(file, root)))
    return Split(name=name, entries=tuple(entries), files=ordered, missing=tuple(missing))


def _keypoint_shape(value: object, path: Path) -> tuple[int, int] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(type(number) is not int for number in value)
        or not 1 <= value[0] <= 1000
        or value[1] not in {2, 3}
    ):
        raise CalibrationError(f'"kpt_shape" in "{path}" is {shown(value)}, expected [points, 2 or 3].')
    return value[0], value[1]


def _labels(value: object, path: Path) -> str:
    if value is None:
        return "labels"
    if not isinstance(value, str) or not value or value in {".", ".."} or "/" in value:
        raise CalibrationError(f'"labels" in "{path}" is {shown(value)}, expected the name of a folder.')
    return value


def _class_names(value: object, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, dict):
        ids = sorted(value) if all(type(key) is int for key in value) else []
        if ids != list(range(len(value))):
            raise CalibrationError(
                f'"names" in "{path}" has the ids {shown(list(value))}, expected 0 to {len(value) - 1}.'
            )
        value = [value[i] for i in ids]
    if not isinstance(value, list):
        raise CalibrationError(f'"names" in "{path}" is a {type(value).__name__}, expected a list or a mapping.')
    return tuple(name if isinstance(name, str) else shown(name) for name in value)
