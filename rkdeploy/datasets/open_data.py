"""Labeled images from a user's path: a data.yaml, a COCO file, or a folder with one folder per class."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.datasets.coco_labels import read_coco
from rkdeploy.datasets.data_yaml import YAML_SUFFIXES, Split, images_in_folder, read_data_yaml, relative_posix
from rkdeploy.datasets.identities import identity_set
from rkdeploy.datasets.map_labels import depth_set, folder_of_images, mask_files, mask_set
from rkdeploy.datasets.text_area_labels import text_area_set
from rkdeploy.datasets.text_labels import text_set
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet, finds_objects
from rkdeploy.datasets.yolo_labels import (
    BadLabelsError,
    LabelForm,
    ShareLabels,
    YoloLabels,
    label_file,
    read_labels,
    require_classes,
)
from rkdeploy.errors import CalibrationError, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.data_yaml import DataYaml

_FORMS = (
    "Give a YOLO data.yaml, a COCO file (.json), for a classifier a folder with one folder per class, for embeddings "
    "one with one folder per identity, for maps a folder with the folders images and masks (or depth), or for text a "
    "label file (path, tab, text) or a folder of images that are named after their text."
)
_NAMED = 3  # files named in a note


def open_data(
    data: Path,
    spec: ModelSpec,
    *,
    split: str = "val",
    labels: str | None = None,
    images: Path | None = None,
    limit: int | None = None,
) -> LabeledSet:
    """Find and read the labels of a data set; its images are not read yet.

    Args:
        data: a data.yaml, a COCO file or, for a classifier, a folder.
        spec: the contract of the model that is evaluated.
        split: of a data.yaml.
        labels: folder of the label files next to `images`; None takes the data.yaml's, else `labels`.
        images: folder of the images of a COCO file; None looks around it.
        limit: largest number of images, chosen by a hash of their names, the same on every machine.

    Raises:
        DataError: when there is nothing usable.
    """
    if not data.exists():
        raise DataError(f'"{data}" does not exist.', _FORMS)
    try:
        found = _open(data, spec, split, labels, images)
    except CalibrationError as error:  # the reader of data.yaml files raises calibration errors
        raise DataError(error.message, error.hint) from error
    if not found.images:
        raise DataError(f"The {found.source} has no image whose labels can be used.", _FORMS)
    if limit is None or limit >= len(found.images):
        return found
    chosen = sorted(found.images, key=lambda i: hashlib.sha256(i.name.encode("utf-8", "surrogateescape")).digest())
    kept = tuple(sorted(chosen[:limit], key=lambda image: image.name))
    return replace(found, images=kept, notes=(*found.notes, f"{limit} of {len(found.images)} images were taken."))


def _open(data: Path, spec: ModelSpec, split: str, labels: str | None, images: Path | None) -> LabeledSet:
    if spec.text is not None:
        return text_set(data, split)
    classifies = any(output.role == "class_scores" for output in spec.outputs)
    if spec.areas is not None:
        return text_area_set(data)
    if data.suffix.lower() == ".json":
        if classifies or spec.task in ("obb", "semantic", "depth", "embedding"):
            raise DataError(f'"{data}" is a COCO file, which has no labels for a {spec.task} model.', _FORMS)
        return read_coco(data, spec, images)
    if data.suffix.lower() in YAML_SUFFIXES:
        yaml = read_data_yaml(data, Path.cwd())
        found = _images_of(yaml, split)
        if classifies:
            return _class_folders(found, yaml.root, spec, f'{split} split of "{data}"')
        if spec.task == "embedding":
            return identity_set(found, yaml.root, f'{split} split of "{data}"')
        if spec.task == "depth":
            return depth_set(found, yaml.root, f'{split} split of "{data}"')
        return _from_yaml(yaml, found, spec, labels or yaml.labels, f'{split} split of "{data}"')
    if not data.is_dir():
        raise DataError(f'"{data}" is neither a data.yaml nor a COCO file.', _FORMS)
    if classifies:
        folder = data / split if (data / split).is_dir() else data
        return _class_folders(images_in_folder(folder), folder, spec, f'folder "{folder}"')
    if spec.task == "embedding":
        folder = data / split if (data / split).is_dir() else data
        return identity_set(images_in_folder(folder), folder, f'folder "{folder}"')
    inside = next((data / name for name in ("data.yaml", "data.yml") if (data / name).is_file()), None)
    if inside is None and spec.task in ("semantic", "depth") and (files := folder_of_images(data)):
        source = f'folder "{data}"'
        return depth_set(files, data, source) if spec.task == "depth" else mask_set(files, data, spec, source)
    if inside is None:
        raise DataError(f'Folder "{data}" holds no data.yaml.', _FORMS)
    return _open(inside, spec, split, labels, images)


def _images_of(yaml: DataYaml, name: str) -> tuple[Path, ...]:
    split: Split | None = yaml.split(name)
    if split is None:
        there = [n for n in ("train", "val", "test") if yaml.split(n) is not None]
        raise DataError(
            f'"{yaml.path}" has no {name} split.', f"Choose --split from {', '.join(there)}." if there else ""
        )
    if not split.files:
        where = ", ".join(f'"{path}"' for path in split.missing) or "its folders are empty"
        raise DataError(f'The {name} split of "{yaml.path}" has no image on this machine: {where}.')
    return split.files


def _from_yaml(yaml: DataYaml, files: Sequence[Path], spec: ModelSpec, labels: str, source: str) -> LabeledSet:
    notes = list(require_classes(yaml.class_names, _labeled_names(yaml, spec), f'"{yaml.path}"'))
    maps = mask_files(files, spec, notes)
    form = _form(yaml, spec)
    read, bad = _read_all(files, yaml.root, labels, form) if finds_objects(spec) else ({}, {})
    labeled = any(len(found.class_ids) for found in read.values())
    if not labeled and not maps:
        reason = f' ("{next(iter(bad))}" {next(iter(bad.values()))})' if bad else ""
        raise DataError(
            f'No image of the {source} has labels{reason}: looked for files such as "{label_file(files[0], labels)}".',
            "Labels are next to the images, with the folder `images` replaced; --data-labels names another folder.",
        )
    if not labeled and finds_objects(spec):
        notes.append(f"The {source} has no labeled objects: only class maps are evaluated.")
    if bad:
        named = "; ".join(f'"{file}" {why}' for file, why in list(bad.items())[:_NAMED])
        notes.append(f"{len(bad)} label files are unusable, and their images left out, as in training: {named}.")
    names = [relative_posix(file, yaml.root) for file in files]
    taken = [
        DataImage(name, file, maps=maps[index] if maps else ())
        for index, (name, file) in enumerate(zip(names, files, strict=True))
        if not labeled or name in read
    ]
    return LabeledSet(source, tuple(taken), YoloLabels(read, form) if labeled else None, notes=tuple(notes))


def _labeled_names(yaml: DataYaml, spec: ModelSpec) -> tuple[str, ...]:
    """The classes that a data.yaml names: a semantic model of one class has a background, which it does not."""
    names = spec.class_names
    without = spec.task == "semantic" and spec.class_maps[0].background and len(yaml.class_names) == len(names) - 1
    return names[1:] if without else names


def _form(yaml: DataYaml, spec: ModelSpec) -> LabelForm:
    if spec.keypoints is None:
        return LabelForm(spec.task, len(spec.class_names))
    count, dimensions = yaml.keypoint_shape or (spec.keypoints.count, 3 if spec.keypoints.scored else 2)
    if count != spec.keypoints.count:
        raise DataError(f'"{yaml.path}" has {count} keypoints (kpt_shape), the model {spec.keypoints.count}.')
    return LabelForm(spec.task, len(spec.class_names), count, dimensions)


def _read_all(
    files: Sequence[Path], root: Path, folder: str, form: LabelForm
) -> tuple[dict[str, ShareLabels], dict[Path, str]]:
    """Labels of the images by name, and the reasons why some are unusable, by label file."""
    read: dict[str, ShareLabels] = {}
    bad: dict[Path, str] = {}
    for file in files:
        labels = label_file(file, folder)
        try:
            read[relative_posix(file, root)] = read_labels(labels, form)
        except BadLabelsError as error:
            bad[labels] = str(error)
    return read, bad


def _class_folders(files: Sequence[Path], root: Path, spec: ModelSpec, source: str) -> LabeledSet:
    """Images whose folder names their class."""
    folders = sorted({file.parent.name for file in files})
    ids = {name: i for i, name in reversed(list(enumerate(spec.class_names)))}
    notes: list[str] = []
    if not any(folder in ids for folder in folders) and len(folders) == len(spec.class_names):
        ids = {folder: i for i, folder in enumerate(folders)}  # in the order of torchvision's ImageFolder in training
        notes.append("The folders do not have the names of the model's classes: they were taken in alphabetical order.")
    foreign = [folder for folder in folders if folder not in ids]
    if foreign or not folders:
        raise DataError(
            f"{len(foreign)} folders of the {source} are not classes of the model: {shown(', '.join(foreign))}; "
            f"expected {shown(', '.join(spec.class_names))}."
            if foreign
            else f"The {source} holds no image.",
            _FORMS,
        )
    images = (DataImage(relative_posix(file, root), file, ids[file.parent.name]) for file in files)
    return LabeledSet(source, tuple(images), None, notes=tuple(notes))
