"""ONNX file from another exporter: read, rewritten to our form and probed, in one stage.

All of it runs in a process of its own (`host/graph/foreign_process.py`), since any of it can crash on such a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.building.agreed_anchors import require_same_levels
from rkdeploy.host.building.from_checkpoint import choose_size
from rkdeploy.host.building.map_presets import MAP_KINDS
from rkdeploy.host.building.supported_head import find_supported_head, require_image_model, require_no_suppression
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.graph.class_vectors import with_class_convolutions
from rkdeploy.host.graph.embedding_probe import vector_output
from rkdeploy.host.graph.exact_cells import with_exact_cells
from rkdeploy.host.graph.float_weights import QUANTIZED_NOTE, is_quantized, with_float_weights
from rkdeploy.host.graph.foreign import (
    class_names,
    exported_size,
    image_input,
    load_onnx,
    to_float32,
    to_supported_opset,
    with_static_input,
)  # fmt: skip
from rkdeploy.host.graph.foreign_sizes import require_fixed_work, require_small_constants
from rkdeploy.host.graph.given_ranges import Grids, activation_grids
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.gray_input import GRAY_NOTE, fold_gray, is_made_gray, with_color_input
from rkdeploy.host.graph.hard_swish import with_hard_sigmoids
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import EMBEDDING, TEXT, VECTOR, require_no_size_bins
from rkdeploy.host.graph.image_scale import without_scale_inputs
from rkdeploy.host.graph.joined_heads import with_joined_heads
from rkdeploy.host.graph.lead_output import lead_output, with_output_alone
from rkdeploy.host.graph.padded_pooling import without_padded_pooling
from rkdeploy.host.graph.pixel_distances import with_pixel_distances
from rkdeploy.host.graph.pixel_input import with_float_input
from rkdeploy.host.graph.planar_input import with_planar_input
from rkdeploy.host.graph.said_reshapes import with_said_reshapes
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.single_batch import with_batch_of_one
from rkdeploy.host.graph.suppression import left_out
from rkdeploy.host.graph.text_probe import size_of_line
from rkdeploy.host.graph.volume_pooling import without_volume_pooling
from rkdeploy.host.graph.whole_bins import ROUNDED_ERROR, WHOLE_ERROR, with_whole_bins

_DECODE_ROUNDED = (
    "The file is quantized, and if its decode is too, its constants are rounded and not read: leave the operators "
    "behind the last convolutions out (nodes_to_exclude of onnxruntime's quantize_static), or give the float model."
)
_MULTIPLES = "Use multiples of its largest stride for --imgsz, usually 32 or 64."


@dataclass(frozen=True, slots=True)
class OpenedGraph:
    """An ONNX file as it was read.

    Attributes:
        reference: the graph with its axes fixed, and the decoded rows among its outputs where it has them.
        simplified: the graph to cut.
        head: of `simplified`.
        input_name: of the image input.
        hw: (height, width) of it.
        class_names: one per class.
        notes: what the user should know.
        divisor: of the pixels, 0 to 255, where the graph takes bytes and so says how it prepares them; otherwise 0.
        given_grids: of its activations, where it is quantized, by their tensors in `simplified`.
        is_quantized: the file is quantized.
    """

    reference: onnx.ModelProto
    simplified: onnx.ModelProto
    head: Head
    input_name: str
    hw: tuple[int, int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    divisor: float = 0.0
    given_grids: Grids = field(default_factory=dict)
    is_quantized: bool = False


def open_graph(file: Path, imgsz: tuple[int, int] | None, info: ModelInfo | None, anchors: int) -> OpenedGraph:
    """Read, rewrite and probe the graph; called in a process of its own, since all of that can crash.

    Args:
        file: the ONNX file.
        imgsz: (height, width) that the user wants.
        info: of the checkpoint, None without.
        anchors: how many the user says that there are; 0 for nothing said.

    Raises:
        GraphError: whatever is wrong with it, or when it does not fit the checkpoint.
    """
    as_written = load_onnx(file)
    loaded, alone, divisor, read_notes = _as_float(as_written)
    require_image_model(alone)
    model = with_color_input(alone)
    name, shape = image_input(model)
    assumed = exported_size(model) or size_of_line(model, shape)
    hw, size_note = _onnx_size(name, shape, imgsz, info, assumed)
    model, batch_note = _of_one_image(model, name, shape[0] or 1, hw)
    model, cells_error = with_exact_cells(model, hw) if is_quantized(as_written) else (model, 0.0)
    Session(model, optimized=False)  # says what is wrong with a damaged graph; onnx's shape inference crashes (1.18)
    # Only its axes are fixed: `verify` then proves everything that is done to the other graph.
    reference = with_static_input(model, (1, 3, *hw))
    simplified = with_hard_sigmoids(_simplified(reference, name, shape, hw))
    simplified = with_class_convolutions(with_joined_heads(simplified))
    simplified = fold_gray(to_supported_opset(without_padded_pooling(simplified)))
    require_small_constants(simplified)
    lead, heads = lead_output(simplified), len(simplified.graph.output)
    vector = "" if lead else vector_output(GraphView(simplified))
    simplified = with_output_alone(simplified, lead or vector) if lead or vector else simplified
    classes = len(info.class_names) if info is not None else None
    try:
        headed, found = _head_at(simplified, classes, hw, anchors, free=None in shape[2:])
    except GraphError as error:
        require_image_model(loaded)  # names a detector by its further inputs
        require_no_suppression(loaded)
        if is_quantized(as_written):
            raise GraphError(error.message, f"{_DECODE_ROUNDED} {error.hint}") from error
        raise
    head = with_pixel_distances(found, reference)
    require_fixed_work(headed, simplified, (tap.tensor for tap in head.taps))
    suppression = left_out(loaded)
    head = replace(head, end_to_end=head.end_to_end and not suppression)
    if info is not None and head.kind not in MAP_KINDS:
        require_same_levels(head, info)
    if head.kind == VECTOR and class_names(model) is not None:
        head = replace(head, kind="")  # scores of these classes
    names, names_note = _onnx_names(model, head, info)
    notes = (
        size_note,
        batch_note,
        GRAY_NOTE if is_made_gray(model) else "",
        names_note,
        *read_notes,
        _cells_note(cells_error),
        _heads_note(lead, heads),
        f'Of {heads} outputs "{vector}" is taken, a vector; the others are what it is computed from.' if vector else "",
        f"The graph's suppression ({suppression}) is left out: the board suppresses." if suppression else "",
    )
    return OpenedGraph(
        reference=_with_decoded_table(reference, headed, head),
        simplified=headed,
        head=head,
        input_name=name,
        hw=hw,
        class_names=names,
        notes=tuple(note for note in notes if note),
        divisor=divisor,
        given_grids=_given_grids(as_written, headed),
        is_quantized=is_quantized(as_written),
    )


def _as_float(as_written: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, float, tuple[str, str]]:
    """The graph with an image of floating-point numbers, the same without inputs for a scale, the divisor of its pixels
    (0 for none), and notes for the user, which may be empty.
    """
    quantized = is_quantized(as_written)
    read = with_float_weights(as_written) if quantized else as_written
    loaded, divisor = with_float_input(with_planar_input(to_float32(without_volume_pooling(read))))
    alone, bins_error = with_whole_bins(without_scale_inputs(loaded), ROUNDED_ERROR if quantized else WHOLE_ERROR)
    return loaded, alone, divisor, (QUANTIZED_NOTE if quantized else "", _bins_note(bins_error))


def _given_grids(as_written: onnx.ModelProto, headed: onnx.ModelProto) -> Grids:
    """The file's grids of the tensors that the graph to cut still has."""
    kept = GraphView(headed).producers
    return {name: grid for name, grid in activation_grids(as_written).items() if name in kept}


def _bins_note(error: float) -> str:
    """Note for the user about bins that were not whole; may be empty."""
    if not error:
        return ""
    return f"The graph's bins of box distances are off by up to {error:.2g}; whole numbers are used."


def _cells_note(error: float) -> str:
    """Note for the user about cells and strides that a quantizer rounded; may be empty."""
    if not error:
        return ""
    return f"The graph's cells and strides are rounded, by up to {error:.2g} px; exact ones are used."


def _heads_note(lead: str, heads: int) -> str:
    """Note for the user about auxiliary heads; may be empty."""
    if not lead:
        return ""
    return f'The graph has {heads} heads alike; "{lead}", the last, is taken: YOLOv9\'s auxiliary ones come first.'


def _of_one_image(model: onnx.ModelProto, name: str, batch: int, hw: tuple[int, int]) -> tuple[onnx.ModelProto, str]:
    """The graph for one image, and a note for the user where it had more.

    Raises:
        GraphError: when they cannot be separated.
    """
    if batch == 1:
        return model, ""
    single = with_batch_of_one(model, name, batch, hw)
    if single is None:
        raise GraphError(f'Input "{name}" has a batch of {batch}, expected 1.', _batch_advice(model))
    return single, f"The graph takes {batch} images at once; the part of one image is taken, which gives the same."


def _batch_advice(model: onnx.ModelProto) -> str:
    """The option of the exporter that wrote the file."""
    written = {entry.key: entry.value for entry in model.metadata_props}
    if written.get("author") == "Ultralytics":
        return "Export it again with batch=1."
    if {"names", "stride"} <= written.keys():
        return "Export it again with --batch-size 1."
    return "Export it again with a batch of 1: batch=1 (Ultralytics), --batch-size 1 (YOLOv5)."


def _with_decoded_table(reference: onnx.ModelProto, simplified: onnx.ModelProto, head: Head) -> onnx.ModelProto:
    """The reference with the decoded rows, or the scores of a map, among its outputs where it goes on behind them.

    Simplification keeps the names of most tensors; where it did not, the simplified graph is the reference itself.
    """
    graph = GraphView(reference)
    tables = [each.output for each in head.rows.tables] if head.rows else []
    wanted = [tensor.output for tensor in head.tensors] if head.kind in (*MAP_KINDS, TEXT) else tables
    missing = [name for name in wanted if name not in graph.outputs]
    if not missing:
        return reference
    table = onnx.ModelProto()
    after = GraphView(simplified)
    table.CopyFrom(reference if all(_is_same(name, graph, after) for name in missing) else simplified)
    shown = {info.name for info in table.graph.output}
    table.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in shown)
    return table


def _is_same(tensor: str, before: GraphView, after: GraphView) -> bool:
    """True if a tensor of the simplified graph is the one of that name in the reference.

    Folding an addition into the convolution before it may leave the sum the convolution's name.
    """
    whole, node = before.producer(tensor), after.producer(tensor)
    if whole is None or node is None:
        return whole is not None
    return (whole.op_type, len(whole.input)) == (node.op_type, len(node.input)) or "Conv" not in node.op_type


def _onnx_size(
    name: str,
    shape: tuple[int | None, ...],
    imgsz: tuple[int, int] | None,
    info: ModelInfo | None,
    exported: tuple[int, int] | None,
) -> tuple[tuple[int, int], str]:
    """The network input (height, width) that the file and --imgsz agree on, and a note for the user or nothing."""
    height, width = shape[2], shape[3]
    if height is not None and width is not None:
        if imgsz is not None and imgsz != (height, width):
            raise GraphError(
                f'Input "{name}" is fixed at {width}x{height} (width x height), expected {imgsz[1]}x{imgsz[0]} from '
                "--imgsz.",
                f"Leave out --imgsz, or export it at that size: imgsz={imgsz[0]},{imgsz[1]} (Ultralytics), --imgsz "
                f"{imgsz[0]} {imgsz[1]} (YOLOv5).",
            )
        return (height, width), ""
    if imgsz is not None:
        if any(fixed not in (None, wanted) for fixed, wanted in zip((height, width), imgsz, strict=True)):
            raise GraphError(
                f'Input "{name}" is {width or "free"} wide and {height or "free"} high, expected {imgsz[1]}x{imgsz[0]} '
                "(width x height) from --imgsz.",
                "Export it with both axes free: dynamic=True (Ultralytics), --dynamic (YOLOv5).",
            )
        return (imgsz if info is None else choose_size(info, imgsz)[0]), ""
    if height is None and width is None and info is not None and info.training.image_size is not None:
        size, _ = choose_size(info, None)
        return size, f"The graph's input size is free; the training size {size[1]}x{size[0]} is used."
    if exported is not None and height in (None, exported[0]) and width in (None, exported[1]):
        used = f"{exported[1]}x{exported[0]} (width x height), the size of the export or of its package"
        return exported, f"The graph's input size is free; {used}, is used. Give --imgsz for another."
    raise GraphError(
        f'The size of input "{name}" is free ({width or "?"}x{height or "?"}, width x height), expected one size.',
        "Fix it with --imgsz WIDTHxHEIGHT.",
    )


def _head_at(
    simplified: onnx.ModelProto, classes: int | None, hw: tuple[int, int], anchors: int, *, free: bool
) -> tuple[onnx.ModelProto, Head]:
    """The head; where the graph left its size free, the size that was chosen is suspected first."""
    try:
        return find_supported_head(simplified, classes, anchors)
    except GraphError as error:
        if not free or all(n % 64 == 0 for n in hw):
            raise
        raise GraphError(error.message, f"At {hw[0]}x{hw[1]} (height x width). {_MULTIPLES}") from error


def _simplified(
    reference: onnx.ModelProto, name: str, shape: tuple[int | None, ...], hw: tuple[int, int]
) -> onnx.ModelProto:
    try:
        shapes = {name: (1, 3, *hw)}
        return simplify(with_said_reshapes(reference, shapes), shapes)
    except GraphError as error:
        if None not in shape[2:] or all(n % 64 == 0 for n in hw):
            raise
        raise GraphError(
            f"The graph cannot be fixed at {hw[0]}x{hw[1]} (height x width): {error.message}",
            _MULTIPLES,
        ) from error


def _onnx_names(model: onnx.ModelProto, head: Head, info: ModelInfo | None) -> tuple[tuple[str, ...], str]:
    """The class names, and a note for the user or nothing."""
    if head.kind == TEXT and head.classes == 1:
        return (TEXT,), ""
    if head.embedding is not None:
        return (EMBEDDING,), ""
    try:
        written = class_names(model)
    except GraphError:
        if info is None:
            raise
        written = None  # the checkpoint's count
    names = info.class_names if info is not None else written
    if names is None:
        note = "The ONNX file has no class names and no --weights was given; they are class_0, class_1, ..."
        return tuple(f"class_{i}" for i in range(head.classes)), note
    if head.anchors_per_level:
        require_no_size_bins(head.classes, len(names))
    if len(names) != head.classes:
        raise GraphError(
            f"The head predicts {head.classes} classes, but {'the checkpoint' if info else 'the metadata'} has "
            f"{len(names)} class names.",
            "The ONNX file and the names do not belong together; give the checkpoint that it was exported from with "
            "--weights.",
        )
    if written is not None and written != names:
        return names, f"The ONNX file names its classes {shown(written)}; the checkpoint's names are used."
    return names, ""
