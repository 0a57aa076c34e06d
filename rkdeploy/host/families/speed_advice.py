"""Advice on the speed of a checkpoint or a compiled model on this NPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.host.families.model_info import ModelInfo

_SMOOTH = ("SiLU", "Swish", "MemoryEfficientSwish", "Hardswish", "Mish", "MemoryEfficientMish", "GELU")
_ATTENTION = ("C2PSA", "C2fPSA", "PSA", "A2C2f", "C3TR", "TransformerBlock")
_RECIPES = {
    "yolov5": "add `activation: nn.ReLU()` to the model's yaml and train again",
    "yolov9": "add `activation: nn.ReLU()` to the model's yaml and train again",
    "ultralytics": "add `activation: torch.nn.ReLU()` to the model's yaml and train again",
}
_USUAL_PIXELS = 640 * 640


@dataclass(frozen=True, slots=True)
class Advice:
    """One cause of lost speed.

    Attributes:
        topic: one or two words, `activation`.
        text: its cost, the source of the figure, and what to do.
    """

    topic: str
    text: str


def advice_for(info: ModelInfo, input_hw: tuple[int, int] | None = None) -> tuple[Advice, ...]:
    """Advice from the checkpoint's facts.

    Args:
        info: the facts.
        input_hw: network input (height, width) in pixels; None takes the training size.
    """
    if input_hw is None and info.training.image_size is not None:
        input_hw = (info.training.image_size, info.training.image_size)
    blocks = {name for name, _ in info.blocks}
    found = [_activation(info), _size(info, input_hw), _multiples(input_hw), _attention(blocks)]
    return tuple(advice for advice in found if advice is not None)


def advice_on_compiled(compiled: CompiledModel) -> tuple[Advice, ...]:
    """Advice from the compiler's own table: layers that do not run on the NPU."""
    on_cpu = [layer for layer in compiled.layers if layer.target == "CPU" and not layer.is_end]
    if not on_cpu:
        return ()
    ops = ", ".join(dict.fromkeys(layer.op for layer in on_cpu))
    names = ", ".join(layer.name for layer in on_cpu[:3] if layer.name)
    more = f" ({names}{', ...' if len(on_cpu) > 3 else ''})" if names else ""
    plural = "s" if len(on_cpu) > 1 else ""
    return (
        Advice(
            "CPU layers",
            f"The compiler puts {len(on_cpu)} layer{plural} on the CPU: {ops}{more}. Each sends its data through "
            "memory and waits for a core. Replace the operator where the model is defined, or move it behind the "
            "outputs.",
        ),
    )


def _activation(info: ModelInfo) -> Advice | None:
    if not info.activation or info.activation[0] not in _SMOOTH:
        return None
    recipe = _RECIPES.get(info.family, "give the model ReLU and train it again")
    return Advice(
        "activation",
        f"{info.activation[0]} costs frame rate on this NPU, ReLU hardly: in Rockchip's published table a YOLOv5s runs "
        f"at 48.4 fps with SiLU and at 66.1 with ReLU (RK3588, one core, INT8, 640). If you need more, {recipe}, "
        "and measure its cost in mAP. Changing it without training breaks the model.",
    )


def _size(info: ModelInfo, input_hw: tuple[int, int] | None) -> Advice | None:
    if input_hw is None or input_hw[0] * input_hw[1] <= 1.5 * _USUAL_PIXELS:
        return None
    factor = input_hw[0] * input_hw[1] / _USUAL_PIXELS
    levels = f" with {len(info.strides)} levels" if len(info.strides) > 3 else ""
    return Advice(
        "input size",
        f"An input of {input_hw[1]}x{input_hw[0]}{levels} has {factor:.1f} times the pixels of 640x640, and time grows "
        "with them. Try --imgsz 640, or one that fits the camera: --imgsz 640x384 for 16:9 saves two fifths.",
    )


def _multiples(input_hw: tuple[int, int] | None) -> Advice | None:
    if input_hw is None or all(n % 32 == 0 for n in input_hw):
        return None
    near = "x".join(str(max(32, round(n / 32) * 32)) for n in reversed(input_hw))
    return Advice(
        "input size",
        f"{input_hw[1]}x{input_hw[0]} is not a multiple of 32: the deeper layers then have odd sizes, which the NPU "
        f"pads. Try --imgsz {near}.",
    )


def _attention(blocks: set[str]) -> Advice | None:
    found = sorted(blocks.intersection(_ATTENTION))
    if not found:
        return None
    return Advice(
        "attention",
        f"{_listed(found)}: attention, whose products and softmax grow with the square of the cells. In "
        "Rockchip's published table a YOLO11n runs at 60.0 fps where a YOLOv8n runs at 73.5 "
        "(RK3588, one core, INT8, 640). A smaller --imgsz helps doubly.",
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(([", ".join(names[:-1])] if len(names) > 1 else []) + [names[-1]])
