"""`rkdeploy inspect`: what a checkpoint says about its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rkdeploy.cli.console import facts_table, out, plain, print_advice

if TYPE_CHECKING:
    from rkdeploy.families.model_info import ModelInfo


def inspect_command(
    model: Annotated[Path, typer.Argument(help="A trained checkpoint, .pt or .pth.", show_default=False)],
    cfg: Annotated[
        Path | None, typer.Option(help="The darknet cfg of weights without a model (YOLOR's main branch).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a checkpoint's family, classes, anchors and training facts. Nothing in it is executed."""
    from rkdeploy.checkpoint import read_checkpoint
    from rkdeploy.families.advice import advice_for
    from rkdeploy.families.registry import family_of

    checkpoint = read_checkpoint(model, cfg)
    info = family_of(checkpoint).describe(checkpoint)
    if as_json:
        advice = msgspec.to_builtins(advice_for(info))
        document = {"file": model.name, **msgspec.to_builtins(info), "advice": advice}
        print(json.dumps(document, indent=2))  # ASCII: a class name cannot drive the terminal
        return
    table = facts_table()
    for name, value in _rows(info):
        table.add_row(name, plain(value))
    out.print(table)
    print_advice(advice_for(info))


def _rows(info: ModelInfo) -> list[tuple[str, str]]:
    names = ", ".join(info.class_names[:12]) + (", ..." if len(info.class_names) > 12 else "")
    rows = [
        ("family", f"{info.family}, {info.generation}"),
        ("task", info.task),
        ("classes", f"{len(info.class_names)}: {names}"),
    ]
    if info.strides:
        rows.append(("strides", " ".join(str(s) for s in info.strides)))
    rows += _task_rows(info)
    if info.anchors is not None:
        for stride, level in zip(info.strides, info.anchors.levels_px, strict=True):
            rows.append((f"anchors, stride {stride}", "  ".join(f"{w:.6g},{h:.6g}" for w, h in level) + " px"))
        rows.append(("", anchor_sentence(info)))
    rows += [
        ("activation", ", ".join(info.activation)),
        ("blocks", ", ".join(f"{count} {name}" for name, count in info.blocks)),
        ("parameters", f"{info.parameters:,}"),
        ("training size", f"{info.image_size} px" if info.image_size else "not in the file"),
        ("weights", f"{info.weights}, stored as {info.stored_dtype}"),
        ("epoch", {None: "not in the file", -1: "stripped after training"}.get(info.epoch, str(info.epoch))),
        ("saved", info.date or "not in the file"),
    ]
    return rows


def _task_rows(info: ModelInfo) -> list[tuple[str, str]]:
    """What the head has besides boxes and classes."""
    rows = []
    if info.dual_head:
        taken = "one-to-one (no suppression)" if info.end_to_end else "one-to-many (with suppression)"
        rows.append(("heads", f"two; taken: {taken}; --nms or --no-nms chooses"))
    if info.keypoints is not None:
        scored = "with" if info.keypoints.scored else "without"
        rows.append(("keypoints", f"{info.keypoints.count}, {scored} visibility"))
    if info.masks:
        rows.append(("masks", f"{info.masks} coefficients"))
    if info.angle is not None:
        rows.append(("boxes", "rotated"))
    if info.class_maps:
        rows.append(("maps", ", ".join(info.class_maps)))
    return rows


def anchor_sentence(info: ModelInfo) -> str:
    """How the anchors compare with the published defaults."""
    comparison = info.anchor_comparison
    if comparison is None:
        return ""
    defaults = f"{comparison.data_set}'s default anchors"
    if comparison.are_defaults:
        return f"These are {defaults}."
    if comparison.largest_ratio is None:
        return f"Not {defaults}, which have another number of them."
    return f"Not {defaults}: sides differ by a factor of up to {comparison.largest_ratio:.2f}."
