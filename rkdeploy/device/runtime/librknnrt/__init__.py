"""The NPU through the C API of Rockchip's librknnrt.so, with ctypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.runtime.cores import CoreMask
    from rkdeploy.device.runtime.librknnrt.runtime import LibRknnRt
    from rkdeploy.device.runtime.protocol import RuntimeOptions


def open_bundle(bundle: Bundle, core: CoreMask | None, options: RuntimeOptions) -> LibRknnRt:
    """The built model of a bundle on the NPU."""
    return open_bundles(bundle, [core], options)[0]


def open_bundles(bundle: Bundle, cores: Sequence[CoreMask | None], options: RuntimeOptions) -> list[LibRknnRt]:
    """One runtime per core, all with the same weights in memory."""
    from rkdeploy.device.runtime.librknnrt.runtime import LibRknnRt
    from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel

    model = SharedModel(bundle.rknn, collect_perf=options.collect_perf)
    return [LibRknnRt(model, bundle.spec, core=core) for core in cores]
