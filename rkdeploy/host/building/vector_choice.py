"""A network that gives a vector of the image: its meaning and its input, as the file and the user say."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.embedding_presets import EMBEDDING_PRESETS, VECTOR_KINDS, with_embedding
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_kinds import EMBEDDING, VECTOR
from rkdeploy.host.graph.pixel_scale import PixelRange, prepared_pixels

_VECTOR_ROLES: Final = frozenset({"class_scores", "embedding"})
_RANGES: Final[dict[str, str]] = {"bytes": "0 to 255", "unit": "0 to 1"}


def with_vector(network: Network, choice: InputChoice) -> Network:
    """The network with the meaning of its vector decided: an embedding, or scores of classes.

    Other networks are returned as they are.

    Raises:
        RkdeployError: when nothing says it, or the user's choices do not fit.
    """
    head = network.head
    is_vector = network.info is None and {tap.role for tap in head.taps} <= _VECTOR_ROLES
    if choice.task is not None and not is_vector:
        given = "its checkpoint says what it gives" if network.info is not None else "it gives more than a vector"
        raise RkdeployError(f"--task is {choice.task}, but the model needs none: {given}.", "Leave out --task.")
    wanted = choice.preset in EMBEDDING_PRESETS or choice.task == "embedding"
    if not is_vector or not (head.kind in VECTOR_KINDS or wanted or choice.task):
        return network
    if head.kind == VECTOR and choice.names is not None and not wanted:
        return _as_classifier(network)
    if choice.names is not None and (wanted or head.kind == EMBEDDING):
        raise RkdeployError("--names is given, but an embedding has no classes.", "Leave out --names.")
    pixels = "" if network.prepares_pixels else prepared_pixels(GraphView(network.trained))
    prepared = network.prepares_pixels or (choice.mean is not None and choice.std is not None)
    image, found = with_embedding(network.input, head, choice.preset, choice.task, prepared=prepared, pixels=pixels)
    if found.embedding is None:
        return _as_classifier(network)
    return replace(
        network,
        family="onnx",
        task="embedding",
        input=image,
        head=found,
        reference_head=found,
        class_names=(EMBEDDING,),
        notes=(*(one for one in network.notes if "no class names" not in one), *_note_of_pixels(image, pixels)),
    )


def _as_classifier(network: Network) -> Network:
    head = replace(network.head, kind="")
    return replace(network, head=head, reference_head=replace(network.reference_head, kind=""), task="classify")


def _note_of_pixels(image: InputSpec, pixels: PixelRange) -> tuple[str, ...]:
    if not pixels:
        return ()
    given = f"mean {image.mean[0]:g}, standard deviation {image.std[0]:g}"
    return (f"The graph normalizes its pixels itself: it is given values from {_RANGES[pixels]} ({given}).",)
