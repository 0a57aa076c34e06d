"""NPU cores, as the bit masks of the vendor's runtime."""

from __future__ import annotations

from enum import IntEnum

from rkdeploy.errors import BackendError


class CoreMask(IntEnum):
    """The cores that a context runs on.  One context per core brings two to three times what a combined mask brings."""

    AUTO = 0
    CORE_0 = 1
    CORE_1 = 2
    CORES_0_1 = 3
    CORE_2 = 4
    CORES_0_1_2 = 7
    ALL = 0xFFFF

    @classmethod
    def of_core(cls, core: int) -> CoreMask:
        """The mask of one core, counted from 0.

        Raises:
            BackendError: for a core that no Rockchip NPU has.
        """
        if core not in (0, 1, 2):
            raise BackendError(f"NPU core {core} does not exist, expected 0, 1 or 2.")
        return cls(1 << core)


def core_count(soc: str) -> int:
    """Number of NPU cores of an SoC: three on the RK3588 family, two on RK3576, one on all others."""
    return {"rk3588": 3, "rk3582": 3, "rk3583": 3, "rk3576": 2}.get(soc[:6], 1)
