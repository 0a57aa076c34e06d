"""A backend: every value of every output is one."""

from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.protocol import HeadTensor, RuntimeOptions


class ConstantRuntime:
    """Answers ones."""

    name = "constant"
    figures_from = "ones"
    notes: tuple[str, ...] = ()

    def __init__(self, spec: ModelSpec) -> None:
        self._tensors = tuple(HeadTensor(np.ones(output.shape, np.float32)) for output in spec.outputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Answer for an image (1, height, width, 3)."""
        return self._tensors


def open_bundle(bundle: Bundle, core: CoreMask | None, options: RuntimeOptions) -> ConstantRuntime:
    """Make the runtime of a bundle, not yet entered; rkdeploy calls it by this name."""
    return ConstantRuntime(bundle.spec)
