"""Quantization settings of a build, which a search varies."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Final, Literal, TypeVar

from rkdeploy.host.graph.cut_options import MOST_PARTS, CutOptions
from rkdeploy.host.toolkit.float16 import NONE, Float16Choice
from rkdeploy.option import QUANTIZATION, Option

Algorithm = Literal["normal", "mmse", "kl_divergence", "sensitivity"]
Method = Literal["channel", "layer"]
_DEFAULT: Final = "default"
_WORST: Final = "worst-"
_AUTO: Final = "auto"
_Options = TypeVar("_Options", bound="QuantizationSettings")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSettings:
    """Settings of the quantization.

    Attributes:
        calib_count: largest number of calibration images.
        seed: of the choice of calibration images.
        algorithm: search of quantization ranges: the toolkit's, or `sensitivity`, rkdeploy's own.
        method: one weight scale per output channel, or one per layer.
        depthwise_parts: largest number of parts of a depthwise convolution; 1 leaves all as they are.
        bias_correction: True to correct the biases; INT8 only.
        float16: layers that stay float16; None is `default_float16`.
        cut: cut of the graph: channels that share a scale, and the sigmoids that the NPU computes.
    """

    calib_count: Annotated[
        int, Option("--calib-count", "Maximum number of calibration images.", QUANTIZATION, often=True)
    ] = 20
    seed: Annotated[int, Option("--seed", "Seed of the choice of calibration images.", QUANTIZATION)] = 0
    algorithm: Annotated[
        Algorithm,
        Option(
            "--algorithm",
            "How quantization ranges are found; sensitivity is rkdeploy's search of what costs the outputs least.",
            QUANTIZATION,
        ),
    ] = "normal"
    method: Annotated[
        Method, Option("--method", "Granularity of the weight scales: one per channel, or one per layer.", QUANTIZATION)
    ] = "channel"
    depthwise_parts: Annotated[
        int,
        Option(
            "--depthwise-parts",
            "Compute uneven depthwise convolutions in up to N parts, each with a quantization scale of its own. "
            "Slower; for networks of depthwise convolutions that INT8 breaks.",
            QUANTIZATION,
            low=1,
            high=MOST_PARTS,
        ),
    ] = 1
    bias_correction: Annotated[
        bool,
        Option(
            "--bias-correction",
            "Correct the biases of the convolutions of an INT8 model, so that rounding shifts no channel's mean. Kept "
            "only if AP on held-out images does not fall; builds twice.",
            QUANTIZATION,
        ),
    ] = False
    float16: Float16Choice | None = None
    cut: CutOptions = field(default_factory=CutOptions)

    def applied_to(self, options: _Options) -> _Options:
        """The build with these settings, and everything else as in `options`."""
        return replace(options, **{field.name: getattr(self, field.name) for field in fields(self)})

    def in_words(self) -> str:
        """Differences from the default, for a table's cell; `default` without any."""
        default = QuantizationSettings()
        words: list[str] = []
        if self.algorithm != default.algorithm:
            words.append(self.algorithm)
        if self.method != default.method:
            words.append(f"method {self.method}")
        if self.calib_count != default.calib_count:
            words.append(f"{self.calib_count} images")
        if self.seed != default.seed:
            words.append(f"draw {self.seed}")
        if self.depthwise_parts != default.depthwise_parts:
            words.append(f"depthwise in {self.depthwise_parts}")
        if self.bias_correction:
            words.append("biases corrected")
        if self.cut.split != default.cut.split:
            words.append(f"split {self.cut.split}")
        if self.cut.sigmoid != default.cut.sigmoid:
            words.append(f"sigmoid {self.cut.sigmoid}")
        if self.float16 is not None:
            words.append(f"float16 {float16_word(self.float16)}")
        return ", ".join(words) or "default"


def cut_word(cut: CutOptions) -> str:
    """A cut in one word."""
    return f"{cut.split}+{cut.sigmoid}"


def float16_word(choice: Float16Choice | None) -> str:
    """A choice of float16 layers in one word."""
    if choice is None:
        return _DEFAULT
    if choice.auto:
        return _AUTO
    if choice.worst:
        return f"{_WORST}{choice.worst}"
    return ",".join(choice.layers) or NONE
