"""The NPU through the C API of Rockchip's librknnrt.so, with ctypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.runtime.librknnrt.runtime import LibRknnRt
from rkdeploy.runtime.librknnrt.shared_model import SharedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.bundle import Bundle
    from rkdeploy.runtime.cores import CoreMask


def open_bundle(bundle: Bundle, core: CoreMask | None = None) -> LibRknnRt:
    """The built model of a bundle on the NPU."""
    return LibRknnRt(SharedModel(bundle.rknn), bundle.spec, core=core)


def open_bundles(bundle: Bundle, cores: Sequence[CoreMask | None]) -> list[LibRknnRt]:
    """One runtime a core, all on the weights of one."""
    model = SharedModel(bundle.rknn)
    return [LibRknnRt(model, bundle.spec, core=core) for core in cores]
