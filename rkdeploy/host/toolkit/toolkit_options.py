"""Options of one model for the vendor's toolkit, in our words and in the toolkit's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rkdeploy.contract.record import ToolkitSettings
from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit.files import FOUND_BY_SENSITIVITY, FOUND_BY_STEP_1

DTYPE_NAMES = {"int8": "w8a8"}  # our name -> the toolkit's; all others are the toolkit's own
_FLOAT = "fp16"


@dataclass(frozen=True, slots=True)
class ToolkitOptions(ToolkitSettings):
    """Options of a model for the toolkit.  Target, dtype, algorithm and method are checked by the toolkit itself.

    Attributes:
        mean, std: per channel, in pixel values: the network's input is (pixel - mean) / std.
        custom_string: under 1,024 characters, readable on the board.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    custom_string: str = ""

    def __post_init__(self) -> None:
        """Check values that the toolkit would silently change or fail on late.

        Raises:
            ToolkitError: naming the value.
        """
        if self.optimization_level not in (0, 1, 2, 3):  # the toolkit warns and takes 3
            raise ToolkitError(f"optimization_level is {self.optimization_level}, expected 0, 1, 2 or 3.")
        if len(self.custom_string) >= 1024:
            raise ToolkitError(f"custom_string has {len(self.custom_string)} characters, expected fewer than 1024.")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ToolkitError(
                f"mean {self.mean} and std {self.std}: expected three values each, and every std above 0."
            )

    @property
    def quantized(self) -> bool:
        """True if calibration is needed."""
        return self.dtype != _FLOAT

    def toolkit_config(self) -> dict[str, Any]:
        """The arguments of the toolkit's `config`."""
        config: dict[str, Any] = {
            "target_platform": self.target,
            "mean_values": [list(self.mean)],
            "std_values": [list(self.std)],
            "optimization_level": self.optimization_level,
        }
        if self.quantized:
            config["quantized_dtype"] = DTYPE_NAMES.get(self.dtype, self.dtype)
            found_here = self.algorithm == FOUND_BY_SENSITIVITY  # the search begins at the ranges of step 1
            config["quantized_algorithm"] = FOUND_BY_STEP_1 if found_here else self.algorithm
            config["quantized_method"] = self.method
        if self.custom_string:
            config["custom_string"] = self.custom_string
        return config
