"""Fault lines that boards print, as data: what each means, what to do, and where it was reported.

The lines are those of Rockchip's vendor kernel (rknpu, RGA, IOMMU, CMA), of librknnrt and of librga, as users reported
them; none was seen by us on a board.  Every pattern is linear in the length of a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_VERSIONS: Final = (
    "Use the librknnrt of the rknn-toolkit2 that built the model, and a vendor kernel with rknpu 0.9.8 or later: "
    "rkdeploy doctor BUNDLE compares them."
)
_DMA32: Final = (
    "Allocate RGA's buffers from /dev/dma_heap/system-uncached-dma32 and import them by importbuffer_fd, or keep the "
    "work on RGA3: imconfig(IM_CONFIG_SCHEDULER_CORE, IM_SCHEDULER_RGA3_CORE0 | IM_SCHEDULER_RGA3_CORE1)."
)
_ISSUES: Final = "https://github.com/{}/issues/{}"


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault that is recognized by a line.

    Attributes:
        name: stable name, `npu_reset`.
        level: `warning`; `note` for lines that need not mean a failure.
        pattern: regular expression of the line, matched anywhere in it, without case.
        meaning: what happened, as a clause.
        fix: what to do.
        source: where it was reported, or the driver's file that prints it.
    """

    name: str
    level: Literal["note", "warning"]
    pattern: str
    meaning: str
    fix: str
    source: str


KNOWN_FAULTS: Final = (
    KnownFault(
        "npu_interrupted", "note", r"RKNPU: failed to wait job.*ret = -512",
        "a signal ended a program while its NPU job ran",
        "Nothing, if you ended it. If not, that program crashed: coredumpctl list",
        _ISSUES.format("airockchip/rknn-toolkit2", 536),
    ),
    KnownFault(
        "npu_job_timeout", "warning", r"RKNPU: failed to wait job",
        "an NPU job did not end in time, and its frame failed",
        f"{_VERSIONS}\nIf it comes under load only, look at the board's power supply.",
        _ISSUES.format("rockchip-linux/rknn-toolkit2", 320),
    ),
    KnownFault(
        "npu_reset", "warning", r"RKNPU: soft reset, num",
        "the driver reset the NPU with all its cores (num counts the SoC's reset lines, not resets)",
        f"{_VERSIONS}\nThe lines above it in the log name the job that hung.",
        "Rockchip's kernel, drivers/rknpu/rknpu_reset.c",
    ),
    KnownFault(
        "iommu_fault", "warning", r"rk_iommu \S+: Page fault at",
        "the NPU, RGA or video hardware used memory that is not mapped for it",
        "The address before .iommu names the device. Update librknnrt, librga and MPP; check sizes and strides of "
        "buffers that are passed to it.",
        _ISSUES.format("rockchip-linux/mpp", 736),
    ),
    KnownFault(
        "rga_above_4g", "warning", r"RGA_(?:IO)?MMU unsupported memory larger than 4G",
        "RGA2 was given memory above 4 GB, which it cannot reach",
        _DMA32,
        _ISSUES.format("airockchip/librga", 146),
    ),
    KnownFault(
        "rga_heap", "warning", r"RGA2 unsupported to get buffer from|dma_heap/\S*dma32\S* .*(?:fail|no such)",
        "there is no DMA heap below 4 GB for RGA2; imfill and imMakeBorder run only there",
        "ls /dev/dma_heap; system-uncached-dma32 needs a kernel with CONFIG_DMABUF_HEAPS_ROCKCHIP. Without it, draw "
        "borders by the CPU.",
        _ISSUES.format("airockchip/librga", 143),
    ),
    KnownFault(
        "bounce_memory", "warning", r"swiotlb buffer is full|Out of SW-IOMMU space",
        "the kernel's bounce memory is full: a device that reaches 4 GB was given memory above",
        f'{_DMA32}\nOn RK356x, see that dmesg says "rknpu iommu is enabled".',
        _ISSUES.format("rockchip-linux/rknn-toolkit2", 218),
    ),
    KnownFault(
        "rga_stride", "warning", r"stride should be 16 aligned|w_?stride is not align",
        "RGA was given rows whose length is not a multiple of 16 pixels",
        "Use widths that are multiples of 16, or pad the rows of the buffer and give its stride.",
        _ISSUES.format("HyperInspire/InspireFace", 276),
    ),
    KnownFault(
        "cma", "warning", r"cma_alloc: .*alloc failed",
        "the contiguous memory (CMA) is used up",
        "grep Cma /proc/meminfo. Use fewer contexts and video buffers, or give it more: cma=256M on the kernel's "
        "command line.",
        _ISSUES.format("edk2-porting/edk2-rk3588", 142),
    ),
    KnownFault(
        "out_of_memory", "warning", r"Out of memory: Kill",
        "memory ran out, and the kernel ended a process",
        "Use fewer contexts, smaller frames or a smaller model; free -m shows what is left.",
        "Linux, mm/oom_kill.c",
    ),
    KnownFault(
        "model_version", "warning", r"Invalid RKNN model version",
        "the model was built by a newer toolkit than this librknnrt can read",
        "Install the librknnrt of that toolkit or a later one; look for a second, older copy: "
        "find / -name 'librknnrt.so*' 2>/dev/null",
        _ISSUES.format("airockchip/rknn-toolkit2", 281),
    ),
    KnownFault(
        "model_target", "warning", r"rknn model does not match the RKNPU hardware",
        "the model was built for another SoC",
        "Build it for this one: rkdeploy build --target",
        _ISSUES.format("rockchip-linux/rknpu2", 25),
    ),
    KnownFault(
        "model_damaged", "warning", r"invalid RKNN_MAGIC|Invalid RKNN f(?:ro|or)mat",
        "the file is not a whole RKNN model",
        "Copy it again and compare: rkdeploy doctor BUNDLE. In a git repository: git lfs pull",
        _ISSUES.format("airockchip/rknn-toolkit2", 405),
    ),
    KnownFault(
        "layer_too_large", "warning", r"REGTASK: .*bit width",
        "a layer is larger than the NPU's registers can say; its output may be wrong",
        "Build a smaller input (rkdeploy build --imgsz) or by another toolkit version, and compare the result with "
        "the float model's: rkdeploy eval.",
        _ISSUES.format("airockchip/rknn-llm", 417),
    ),
    KnownFault(
        "driver_old", "warning", r"Mismatch driver version|rknpu driver version is too low",
        "the kernel's NPU driver is older than this runtime needs",
        "Update the board's image or kernel: the driver is a part of it. Else use an older librknnrt and toolkit.",
        _ISSUES.format("Pelochus/ezrknn-llm", 19),
    ),
    KnownFault(
        "driver_missing", "warning", r"failed to open rknpu module|failed to open rknn device",
        "the runtime cannot open the NPU: no driver, or no permission",
        "rkdeploy doctor says which. Mainline kernels have no rknpu driver: use the board vendor's image.",
        _ISSUES.format("rockchip-linux/rknn-toolkit", 454),
    ),
    KnownFault(
        "submit_failed", "warning", r"failed to submit!?, op id",
        "the driver refused or lost an NPU job",
        f"{_VERSIONS}\nThe kernel's log has the reason: rkdeploy doctor",
        _ISSUES.format("airockchip/rknn-toolkit2", 447),
    ),
    KnownFault(
        "descriptors", "warning", r"failed to convert handle.*Too many open files",
        "the process has too many open files, and every NPU buffer takes one",
        "ulimit -n 65536    (LimitNOFILE=65536 in a systemd unit)",
        _ISSUES.format("airockchip/rknn-llm", 62),
    ),
    KnownFault(
        "npu_memory", "warning", r"failed to malloc npu memory|failed to allocate handle",
        "there was no memory for the NPU",
        "Close other programs that use it, use fewer contexts or a smaller model.\nOn RK356x, see that dmesg says "
        '"rknpu iommu is enabled": without it only the reserved memory is there.',
        _ISSUES.format("rockchip-linux/rknn-toolkit2", 44),
    ),
)  # fmt: skip
"""In the order of trial: the first that matches a line is taken."""
