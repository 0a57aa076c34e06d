"""Facts about embeddings that their graph does not contain, by the name of the training package.

A graph shows neither how images are prepared nor how they were cut out of their photos, and often not whether its
numbers are an embedding at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rkdeploy.contract.formulas import Alignment, EmbeddingFormula
from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import GraphError
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD, TORCHVISION_CROP
from rkdeploy.host.graph.embedding_probe import as_embedding
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import EMBEDDING, VECTOR
from rkdeploy.host.graph.pixel_scale import PixelRange

EmbeddingPresetName = Literal[
    "arcface", "mobilefacenet", "facenet", "osnet", "fastreid", "clip", "siglip", "dinov2", "image-embedding"
]
VectorTask = Literal["classify", "embedding"]
VECTOR_KINDS: Final = frozenset({EMBEDDING, VECTOR})
_CLIP = (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
_HALF = (127.5, 127.5, 127.5)


@dataclass(frozen=True, slots=True)
class EmbeddingPreset:
    """Preparation of images in one training package's own code.

    Attributes:
        says: a few words for messages.
        image: the input, but for its name and size.
        sizes: usual (height, width); empty for any.
        alignment: see `EmbeddingFormula`.
    """

    says: str
    image: InputSpec
    sizes: tuple[tuple[int, int], ...] = ()
    alignment: Alignment = "none"


def _input(mean: tuple[float, float, float], std: tuple[float, float, float], **others: object) -> InputSpec:
    base = InputSpec("images", 1, 1, mean=mean, std=std, fit="stretch")
    return replace(base, **others)  # type: ignore[arg-type]  # by keyword


_FACES = ((112, 112), (112, 96), (128, 128))
EMBEDDING_PRESETS: Final[Mapping[str, EmbeddingPreset]] = {
    "arcface": EmbeddingPreset(
        "InsightFace's w600k, buffalo and antelope: aligned faces, RGB, (pixel - 127.5) / 127.5",
        _input(_HALF, _HALF, antialias=False),
        _FACES,
        "face",
    ),
    "mobilefacenet": EmbeddingPreset(
        "MobileFaceNet_Pytorch, SphereFace: aligned faces, RGB, (pixel - 127.5) / 128",
        _input(_HALF, (128.0,) * 3, antialias=False),
        _FACES,
        "face",
    ),
    "facenet": EmbeddingPreset(
        "facenet-pytorch: face crops, RGB, (pixel - 127.5) / 128", _input(_HALF, (128.0,) * 3), ((160, 160),)
    ),
    "osnet": EmbeddingPreset(
        "torchreid: crops of persons, RGB, ImageNet's mean and deviation, stretched",
        _input(IMAGENET_MEAN, IMAGENET_STD),
        ((256, 128), (384, 128), (128, 64)),
    ),
    "fastreid": EmbeddingPreset(
        "FastReID: crops of persons or vehicles, RGB, ImageNet's mean and deviation, which its graphs do themselves",
        _input(IMAGENET_MEAN, IMAGENET_STD),
        ((256, 128), (384, 128), (256, 256)),
    ),
    "clip": EmbeddingPreset(
        "CLIP of OpenAI and open_clip: RGB, CLIP's mean and deviation, cut from the middle",
        _input(*_CLIP, fit="center_crop"),
        tuple((side, side) for side in (224, 240, 256, 288, 320, 336, 384)),
    ),
    "siglip": EmbeddingPreset(
        "SigLIP: RGB, (pixel - 127.5) / 127.5, stretched",
        _input(_HALF, _HALF),
        tuple((side, side) for side in (224, 256, 384, 512)),
    ),
    "dinov2": EmbeddingPreset(
        "DINOv2: RGB, ImageNet's mean and deviation, 224 cut from the middle of 256",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="center_crop", crop_fraction=TORCHVISION_CROP),
        tuple((side, side) for side in (224, 518)),
    ),
    "image-embedding": EmbeddingPreset(
        "a backbone of torchvision or timm without its classifier: RGB, ImageNet's mean and deviation, 224 cut from "
        "the middle of 256",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="center_crop", crop_fraction=TORCHVISION_CROP),
    ),
}  # fmt: skip


def fitting_embeddings(height: int, width: int) -> tuple[str, ...]:
    """Names of the presets for an input size: those that use it, and those of any size; all if none uses it."""
    used = [name for name, one in EMBEDDING_PRESETS.items() if (height, width) in one.sizes]
    general = [name for name, one in EMBEDDING_PRESETS.items() if not one.sizes]
    return tuple([*used, *general] if used else EMBEDDING_PRESETS)


def with_embedding(
    image: InputSpec,
    head: Head,
    preset: str | None,
    task: VectorTask | None,
    *,
    prepared: bool,
    pixels: PixelRange = "",
) -> tuple[InputSpec, Head]:
    """Input and head of a vector as the user says.

    Args:
        image: the input, for its name and size.
        head: of a vector, an embedding's or a classifier's.
        preset: its name, as the user gave it.
        task: what the vector is, as the user gave it.
        prepared: whether the user gave mean and deviation.
        pixels: `bytes` or `unit` where the graph normalizes its pixels itself, from 0 to 255 or from 0 to 1.

    Raises:
        GraphError: when nothing says what the vector is or how its images are prepared, or the graph contradicts it.
    """
    if preset is not None and preset not in EMBEDDING_PRESETS:
        raise GraphError(
            f"--preset {preset} is not of an embedding, and the model gives a vector.",
            f"Presets that fit: {', '.join(fitting_embeddings(image.height, image.width))}.",
        )
    if task == "classify" and (preset is not None or head.kind == EMBEDDING):
        reason = (
            f"--preset {preset} is of an embedding" if preset is not None else "the model ends as an embedding does"
        )
        raise GraphError(f"--task is classify, but {reason}.", "Leave out --task.")
    if task == "classify":
        return image, replace(head, kind="")
    is_embedding = head.kind == EMBEDDING or preset is not None or task == "embedding"
    if not is_embedding:
        raise _unknown(image, head)
    found = replace(head, kind="") if head.embedding is not None else _converted(head)
    if preset is None and not prepared and not pixels:
        raise _unprepared(image)
    chosen = replace(image, fit="stretch")
    formula = found.embedding or EmbeddingFormula()
    if preset is not None:
        known = EMBEDDING_PRESETS[preset]
        chosen = replace(known.image, name=image.name, height=image.height, width=image.width)
        formula = replace(formula, alignment=known.alignment)
    if pixels:
        chosen = replace(chosen, mean=(0.0,) * 3, std=((1.0,) if pixels == "bytes" else (255.0,)) * 3)
    return chosen, replace(found, embedding=formula)


def _converted(head: Head) -> Head:
    """A head of scores as an embedding.

    Raises:
        GraphError: when a softmax makes shares of classes of them.
    """
    if head.tensors[0].activation != "linear":
        raise GraphError(
            "The model ends in a softmax: its numbers are probabilities of classes.",
            "Leave out --preset and --task, or export it without its classifier.",
        )
    return as_embedding(head)


def _listed(image: InputSpec) -> str:
    names = fitting_embeddings(image.height, image.width)
    return "; ".join(f"--preset {name} ({EMBEDDING_PRESETS[name].says})" for name in names)


def _unknown(image: InputSpec, head: Head) -> GraphError:
    count = head.taps[0].shape[1]
    return GraphError(
        f"The model gives {count} numbers, and its file does not say whether they are an embedding or scores of "
        f"{count} classes.",
        f"An embedding: {_listed(image)}; or --task embedding with --mean and --std. Classes: --names with {count} "
        "names, or --task classify.",
    )


def _unprepared(image: InputSpec) -> GraphError:
    return GraphError(
        "The model gives an embedding, and its file does not say how its images are prepared.",
        f"Say it: {_listed(image)}. Or give --mean and --std.",
    )
