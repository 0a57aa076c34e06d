"""Application of the user's choices for a network's input and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.datasets.data_yaml import read_data_yaml
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.host.building.given_anchors import GIVEN
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.map_presets import MAP_KINDS, map_task, with_map_names, with_ultralytics_map
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.presets import PRESETS, with_preset
from rkdeploy.host.building.raw_outputs import ASSUMED_IMAGES
from rkdeploy.host.building.text_presets import is_text, with_text
from rkdeploy.host.building.vector_choice import with_vector
from rkdeploy.host.families import yolov5_face
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD, TORCHVISION_CROP
from rkdeploy.host.graph.foreign import class_names
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.gray_input import is_made_gray
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import FASTEST, SHARED
from rkdeploy.system.text_file import TextFileError, read_text, text_lines

_MAX_NAMES = 1 << 20
_BINS = 21
_SIZE_BINS = " YOLOv7's IBin has 2 x 21 bins of sizes in their place: if it is one, build from its checkpoint."
_NO_NAMES = "no class names"
"""Words of the note about a graph without class names."""


def with_choice(network: Network, choice: InputChoice) -> Network:
    """The network with the user's choices.

    A lone ONNX classifier does not describe its input: ImageNet's usual preparation is assumed for everything that
    the user left open, with a note.

    Raises:
        RkdeployError: when the number of names is not the number of classes, or a preset is missing or does not fit.
    """
    if is_text(network.head):
        return _with_text(network, choice)
    if choice.characters is not None:
        raise RkdeployError("--characters is of text recognizers, which the model is not.", "Leave out --characters.")
    network = with_vector(network, choice)
    if network.task == "embedding":
        return _with_embedding_input(network, choice)
    named = read_names(choice.names) if choice.names is not None else None
    anchors_alone = network.anchors_from == GIVEN and network.info is None and not network.head.kind
    if named is not None and anchors_alone:
        network = _with_landmarks(network, len(named))
    prepared = choice.mean is not None and choice.std is not None
    if network.head.kind in MAP_KINDS and (task := exported_map(network)) is not None and choice.preset is None:
        image, head = with_ultralytics_map(network.input, network.head, task)
    else:
        image, head = with_preset(network.input, network.head, choice.preset, prepared=prepared)
    notes = _preset_notes(network, choice)
    if network.task == "classify" and network.info is None and not _says_ultralytics(network):
        image = replace(image, mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="center_crop", crop_fraction=TORCHVISION_CROP)
        if choice.mean is None or choice.std is None:
            notes.append(
                "The ONNX file does not say how its images are prepared; ImageNet's mean and deviation and a center "
                f"crop of {TORCHVISION_CROP} are assumed. If that is wrong, give --mean, --std, --crop, --fit, "
                "--color."
            )
    if anchors_alone and choice.names is None:
        _require_scores(network)
    if is_made_gray(network.trained):
        _require_gray(choice)
    if network.prepares_pixels:
        image = replace(image, mean=network.input.mean, std=network.input.std)
    image = _chosen(image, choice)
    names = network.class_names
    preset = PRESETS.get(choice.preset or "")
    given = preset.names if preset is not None else ()
    if len(given) == len(names) and any(_NO_NAMES in note for note in notes):
        names, notes = given, [note for note in notes if _NO_NAMES not in note]
    if named is not None:
        names = named
        if len(names) != len(network.class_names):
            raise RkdeployError(
                f'"{choice.names}" has {len(names)} class names, expected {len(network.class_names)}, one for each '
                "class of the model.",
                "Give one name per line, in the order of the model's classes.",
            )
        notes = [note for note in notes if _NO_NAMES not in note]
    if network.head.kind in MAP_KINDS:
        return _with_map(network, image, head, names, notes)
    return replace(
        network,
        family=network.family if preset is None else preset.family,
        input=image,
        head=head,
        reference_head=replace(network.reference_head, points=head.points),
        anchors=head.anchors if head.prior_formula is not None or head.kind in (SHARED, FASTEST) else network.anchors,
        class_names=names,
        notes=tuple(notes),
    )


def _preset_notes(network: Network, choice: InputChoice) -> list[str]:
    """The network's notes, with one about that which a preset says and the graph does not prove."""
    notes = [note for note in network.notes if choice.preset is None or ASSUMED_IMAGES not in note]
    if len(notes) < len(network.notes):
        notes.append(f"Boxes and images are read as --preset {choice.preset} says; nothing in the graph proves it.")
    elif choice.preset is not None and network.proves_decode and _prepared_otherwise(network, choice.preset):
        notes.append(
            "Boxes and scores are compared with the trained decode, but not how images are prepared: that is as "
            f"--preset {choice.preset} says. Look at the pictures of the report."
        )
    return notes


def _prepared_otherwise(network: Network, name: str) -> bool:
    """True if a preset of the same kind of head prepares images in another way."""
    images = {each: preset.image for each, preset in PRESETS.items() if network.head.kind in preset.kinds}
    return any(image != images.get(name) for image in images.values())


def _with_text(network: Network, choice: InputChoice) -> Network:
    """The network of a text recognizer with the user's choices.

    Raises:
        RkdeployError: as for `with_text`, or when the number of names is not that of the attribute's classes.
    """
    read = with_text(network, choice)
    if is_made_gray(read.trained):
        _require_gray(choice)
    read = replace(read, input=_chosen(read.input, choice))
    if choice.names is None:
        return read
    named, expected = read_names(choice.names), len(read.class_names)
    if len(named) != expected or read.head.classes == 1:
        has = f"an attribute of {expected} classes" if read.head.classes > 1 else "no attribute"
        raise RkdeployError(
            f'"{choice.names}" has {len(named)} class names, but the text has {has}.',
            "--names is of the attribute's classes; the characters are given with --characters.",
        )
    notes = tuple(note for note in read.notes if _NO_NAMES not in note)
    return replace(read, class_names=named, notes=notes)


def _with_embedding_input(network: Network, choice: InputChoice) -> Network:
    """The network of an embedding with the user's mean, deviation, fit and color."""
    if is_made_gray(network.trained):
        _require_gray(choice)
    image = _chosen(network.input, choice)
    if network.prepares_pixels:
        image = replace(image, mean=network.input.mean, std=network.input.std)
    return replace(network, input=image)


def _with_landmarks(network: Network, classes: int) -> Network:
    """A network of raw anchor maps whose numbers behind objectness are more than its classes.

    Landmarks come first, as YOLOv5-face has them.

    Args:
        network: whose numbers behind objectness were all counted as classes.
        classes: number of names that the user gave.
    """
    head = network.head
    points, rest = divmod(head.classes - classes, 2)
    if points < 1 or rest or head.masks or head.keypoints is not None:
        return network
    note = (
        f"--names has {classes} names for {head.classes} numbers behind objectness: the first {2 * points} are read as "
        f"x and y of {points} landmarks, as YOLOv5-face has them. Nothing proves it: look at the report's pictures."
        + (_SIZE_BINS if points == _BINS else "")
    )
    read = replace(head, classes=classes, keypoints=yolov5_face.landmark_layout(points))
    return replace(
        network,
        family=yolov5_face.NAME,
        task="pose",
        head=read,
        reference_head=read,
        class_names=network.class_names[:classes],
        notes=(*network.notes, note),
    )


def _with_map(network: Network, image: InputSpec, head: Head, names: tuple[str, ...], notes: Sequence[str]) -> Network:
    """The network with its map as it was found to be read; depth and text need no class names."""
    named, names = with_map_names(head, names)
    if named.depth is not None or named.areas is not None:
        notes = [note for note in notes if _NO_NAMES not in note]
    return replace(
        network,
        task=map_task(named),
        input=image,
        head=named,
        reference_head=named,
        class_names=names,
        notes=tuple(notes),
    )


def exported_map(network: Network) -> Task | None:
    """The task of a map that Ultralytics trained, as its checkpoint or its exporter says; None if nothing does."""
    if network.info is not None:
        return network.info.task if network.info.task in ("semantic", "depth") else None
    written = {entry.key: entry.value for entry in network.trained.metadata_props}
    tasks: dict[str, Task] = {"semantic": "semantic", "depth": "depth"}
    return tasks.get(written.get("task", "")) if _says_ultralytics(network) else None


def _require_scores(network: Network) -> None:
    """Check raw anchor maps whose numbers behind objectness may be landmarks as well as classes.

    A sigmoid at the end of the graph, or class names in it, show that they are classes.

    Raises:
        RkdeployError: when there is neither.
    """
    graph = GraphView(network.trained)
    ends = [graph.producer(name) for name in graph.outputs]
    if class_names(network.trained) is None and any(end is None or end.op_type != "Sigmoid" for end in ends):
        count = len(network.class_names)
        raise RkdeployError(
            f"The graph does not say what the {count} numbers behind objectness are: classes, or landmarks and classes "
            "(YOLOv5-face).",
            f"Name the classes: --names with {count} names if all of them are classes, or with fewer if x and y of "
            f"landmarks come first ({count - 8} names for 4 corners, {count - 10} for 5 points of a face).",
        )


def _require_gray(choice: InputChoice) -> None:
    """Check that the choices apply to gray images.

    Raises:
        RkdeployError: naming the option that does not.
    """
    if choice.color == "bgr":
        raise RkdeployError("--color is bgr, but the network takes gray images.", "Leave out --color.")
    for option, values in (("--mean", choice.mean), ("--std", choice.std)):
        if values is not None and len(set(values)) > 1:
            raise RkdeployError(
                f"{option} is {values}, expected the same number three times: the network takes gray images."
            )


def _chosen(image: InputSpec, choice: InputChoice) -> InputSpec:
    return replace(
        image,
        mean=choice.mean or image.mean,
        std=choice.std or image.std,
        color=choice.color or image.color,
        fit=choice.fit or image.fit,
        crop_fraction=choice.crop_fraction or image.crop_fraction,
    )


def _says_ultralytics(network: Network) -> bool:
    """True if its metadata is that of Ultralytics' exporter, whose classifiers take RGB from 0 to 1."""
    return any(p.key == "author" and p.value == "Ultralytics" for p in network.trained.metadata_props)


def read_names(path: Path) -> tuple[str, ...]:
    """The class names in a data.yaml, or in a text file with one per line.

    Raises:
        RkdeployError: unreadable, not a text file, or with names that cannot be printed.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_data_yaml(path, Path.cwd()).class_names
    try:
        lines = text_lines(read_text(path, _MAX_NAMES))
    except TextFileError as error:
        raise RkdeployError(f'The file of class names "{path}" {error.reason}.', error.fix) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not all(name.isprintable() for name in names):
        raise RkdeployError(f'The class names "{path}" hold {shown(next(n for n in names if not n.isprintable()))}.')
    return names
