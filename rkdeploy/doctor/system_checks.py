"""Checks of a machine.  Pure functions: a `System` in, findings out, in the order in which one would look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.device.runtime.librknnrt.library import DEFAULT_LIBRARY, LIBRARY_VARIABLE
from rkdeploy.device.runtime.model_file import ModelFile
from rkdeploy.device.runtime.versions import parse_version, version_findings
from rkdeploy.doctor.camera_checks import check_cameras
from rkdeploy.doctor.finding import Finding
from rkdeploy.doctor.kernel_log_check import check_kernel_log
from rkdeploy.doctor.node_access import may_use
from rkdeploy.doctor.package_checks import (
    check_decode,
    check_packages,
    check_python,
    check_toolkit,
    check_work,
)
from rkdeploy.doctor.system import NPU_NODE, OLD_NPU_NODE
from rkdeploy.doctor.video_checks import check_video
from rkdeploy.host.toolkit.process import NEWEST_PYTHON

if TYPE_CHECKING:
    from rkdeploy.doctor.system import Node, System, User

_NO_MODEL: Final = ModelFile(0, None, ())
_STEADY: Final = frozenset({"performance", "userspace"})
_MIB: Final = 1 << 20
_LITTLE_DISK, _FULL_DISK = 1000 * _MIB, 100 * _MIB
_LITTLE_MEMORY: Final = 512 * _MIB
_RULES: Final = (
    "sudo cp board/99-rkdeploy-npu.rules /etc/udev/rules.d/ && sudo udevadm control --reload && sudo udevadm trigger"
)
_RUNTIME: Final = (
    "git clone --depth 1 https://github.com/airockchip/rknn-toolkit2\n"
    "sudo cp rknn-toolkit2/rknpu2/runtime/Linux/librknn_api/aarch64/librknnrt.so /usr/lib/"
)
_SHOWN_HEAPS: Final = 4


def check_system(system: System) -> tuple[Finding, ...]:
    """Every finding about a machine; those about an NPU only on a board."""
    found = [*check_python(system), *check_packages(system), *check_work(system)]
    found += [*check_decode(system), *check_toolkit(system)]
    found += _soc(system)
    if system.is_board:
        found += [*_driver(system), *_npu_nodes(system), *_dma_heaps(system), *_library(system), *_lite(system)]
        found += [*_governor(system), *check_kernel_log(system)]
    elif system.library.exists:
        found += _library(system)
    found += check_video(system)
    return (*found, *_docker(system), *check_cameras(system), *_disks(system), *_memory(system))


def _soc(system: System) -> list[Finding]:
    named = ", ".join(filter(None, (system.board_model, system.os_name, f"Linux {system.kernel}")))
    if system.board.soc is not None:
        return [Finding("machine", "ok", f"{system.board.soc} ({named})")]
    if system.is_board:
        return [
            Finding(
                "machine",
                "problem",
                f"an NPU's device, but no Rockchip SoC in /proc/device-tree/compatible ({named})",
                "rockchip,rk3588 or the like: the vendor's runtime reads it there",
                "In a container: docker run -v /proc/device-tree:/proc/device-tree:ro ..." if system.in_docker else "",
            )
        ]
    return [Finding("machine", "ok", f"{system.machine} PC ({named}); no NPU to check")]


def _driver(system: System) -> list[Finding]:
    driver = system.board.driver
    if driver is None:
        if system.user.uid != 0:
            return [
                Finding(
                    "driver",
                    "note",
                    "only root can see the version of the NPU driver here",
                    fix="sudo $(command -v rkdeploy) doctor",
                )
            ]
        return [
            Finding(
                "driver",
                "warning",
                "no file contains an NPU driver's version",
                "the rknpu driver, 0.8.8 or later",
                "sudo dmesg | grep -i rknpu",
            )
        ]
    old = version_findings(_NO_MODEL, runtime=None, driver=driver)
    return [Finding("driver", "warning", item.message, fix=item.hint) for item in old] or [
        Finding("driver", "ok", f"rknpu {driver}")
    ]


def _npu_nodes(system: System) -> list[Finding]:
    if not system.npu_nodes:
        others = ", ".join(node.path for node in system.other_render_nodes)
        fix = (
            "docker run --device /dev/dri --device /dev/dma_heap ..."
            if system.in_docker
            else "sudo dmesg | grep -i rknpu\nMainline kernels have no rknpu driver: use the board vendor's image."
        )
        found = f"no device of an NPU{f'; {others} belong to other drivers' if others else ''}"
        return [Finding("NPU device", "problem", found, f"{NPU_NODE} or {OLD_NPU_NODE}", fix)]
    return [_access("NPU device", node, system.user, "problem") for node in system.npu_nodes]


def _dma_heaps(system: System) -> list[Finding]:
    closed = [node for node in system.dma_heaps if not may_use(node, system.user)]
    if system.dma_heaps and len(closed) == len(system.dma_heaps):
        return [_access("DMA memory", closed[0], system.user, "warning")]
    if system.dma_heaps and not any("dma32" in node.path for node in system.dma_heaps):
        named = ", ".join(node.path for node in system.dma_heaps[:_SHOWN_HEAPS])
        return [
            Finding(
                "DMA memory",
                "note",
                f"no heap below 4 GB ({named}); RGA2 cannot use memory above",
                "/dev/dma_heap/system-uncached-dma32, where a program uses RGA2",
                "Use a vendor kernel with CONFIG_DMABUF_HEAPS_ROCKCHIP.",
            )
        ]
    return []


def _access(check: str, node: Node, user: User, status: str) -> Finding:
    rights = f"{node.path} {node.mode:04o}, group {node.group}"
    if may_use(node, user):
        return Finding(check, "ok", rights)
    by_group = node.mode & 0o060 == 0o060 and node.gid != 0
    fix = f"sudo usermod -aG {node.group} {user.name}    (then log in again)" if by_group else _RULES
    return Finding(
        check,
        "problem" if status == "problem" else "warning",
        f'{rights}: user "{user.name}" (groups {", ".join(user.groups)}) may not use it',
        "read and write access",
        fix,
    )


def _library(system: System) -> list[Finding]:
    library = system.library
    where = f"{library.path}{f' (by {LIBRARY_VARIABLE})' if library.by_variable else ''}"
    if not library.exists:
        fix = f"unset {LIBRARY_VARIABLE}" if library.by_variable else _RUNTIME
        return [Finding("librknnrt", "problem", f"{where} does not exist", "the vendor's NPU runtime", fix)]
    if library.machine != system.machine:
        return [
            Finding(
                "librknnrt",
                "problem",
                f"{where} is {f'for {library.machine}' if library.machine else 'no ELF library'}",
                f"a library for {system.machine}",
                f"unset {LIBRARY_VARIABLE}" if library.by_variable else _RUNTIME,
            )
        ]
    found = []
    if library.version is None:
        expected = "a runtime with a version"
        found.append(Finding("librknnrt", "warning", f"{where} contains no version", expected, _RUNTIME))
    else:
        found.append(Finding("librknnrt", "ok", f"{library.version}, {where}"))
    if library.by_variable and system.is_board:
        found.append(
            Finding("librknnrt", "note", f"rkdeploy loads {library.path}; other programs load {DEFAULT_LIBRARY}")
        )
    return found


def _lite(system: System) -> list[Finding]:
    installed = system.packages.get("rknn-toolkit-lite2")
    if installed is None:
        newer = "; it ends with Python 3.12" if system.python[:2] > NEWEST_PYTHON else ""
        text = f"not installed{newer}; the backend librknnrt does not need it"
        return [Finding("rknn-toolkit-lite2", "note", text)]
    lite, runtime = parse_version(installed), parse_version(system.library.version)
    if lite is not None and runtime is not None and lite > runtime:
        return [
            Finding(
                "rknn-toolkit-lite2",
                "warning",
                f"{installed}, newer than librknnrt {'.'.join(map(str, runtime))}",
                f"librknnrt {installed} or later",
                _RUNTIME,
            )
        ]
    return [Finding("rknn-toolkit-lite2", "ok", installed)]


def _governor(system: System) -> list[Finding]:
    npu = next((clock for clock in system.clocks if clock.name == "NPU"), None)
    if npu is None:
        return [Finding("NPU clock", "note", "the kernel shows no NPU clock in /sys/class/devfreq")]
    speed = f", at {npu.current_hz / 1e6:.0f} MHz now" if npu.current_hz is not None else ""
    limit = f" of at most {npu.limit_hz / 1e6:.0f}" if npu.limit_hz is not None and speed else ""
    text = f"{npu.governor or 'governor unknown'}{speed}{limit}"
    if npu.limit_hz is not None and npu.highest_hz is not None and npu.limit_hz < npu.highest_hz:
        folder = npu.governor_path.rpartition("/")[0]
        return [
            Finding(
                "NPU clock",
                "warning",
                f"{text}: capped",
                f"{npu.highest_hz / 1e6:.0f} MHz",
                f"echo {npu.highest_hz} | sudo tee /{folder}/max_freq",
            )
        ]
    if npu.governor is not None and npu.governor not in _STEADY:
        return [
            Finding(
                "NPU clock",
                "note",
                text,
                "performance, where the rate matters more than power",
                f"echo performance | sudo tee /{npu.governor_path}",
            )
        ]
    return [Finding("NPU clock", "ok", text)]


def _docker(system: System) -> list[Finding]:
    if not system.in_docker:
        return []
    if not system.is_board:
        return [Finding("container", "note", "/.dockerenv exists: this is a container, or was made from one's image")]
    if any(node.path == NPU_NODE for node in system.npu_nodes):
        return [Finding("container", "ok", f"/.dockerenv exists, and {NPU_NODE} is there")]
    return [
        Finding(
            "container",
            "warning",
            f"/.dockerenv exists and {NPU_NODE} does not: rknn-toolkit-lite2 takes this for a container without an NPU",
            f"{NPU_NODE}",
            "In a container: docker run --device /dev/dri ...\nIn none: sudo rm /.dockerenv",
        )
    ]


def _disks(system: System) -> list[Finding]:
    found = []
    for disk in system.disks:
        text = f"{disk.free_bytes / 1e9:.1f} of {disk.total_bytes / 1e9:.1f} GB free in {disk.folder}"
        if disk.free_bytes < _LITTLE_DISK:
            status = "problem" if disk.free_bytes < _FULL_DISK else "warning"
            fix = f"sudo du -xh {disk.folder} | sort -h | tail"
            found.append(Finding("disk", "problem" if status == "problem" else "warning", text, "1 GB", fix))
        else:
            found.append(Finding("disk", "ok", text))
    return found


def _memory(system: System) -> list[Finding]:
    available, total = system.memory.get("MemAvailable"), system.memory.get("MemTotal")
    if available is None or total is None:
        return [Finding("memory", "note", "unknown: /proc/meminfo cannot be read")]
    text = f"{available / 1e9:.1f} of {total / 1e9:.1f} GB available"
    if (cma := system.memory.get("CmaTotal")) and system.is_board:
        text += f", CMA {system.memory.get('CmaFree', 0) / _MIB:.0f} of {cma / _MIB:.0f} MiB free"
    if available < _LITTLE_MEMORY:
        return [Finding("memory", "warning", text, "512 MiB available", "ps -eo rss,args --sort=-rss | head")]
    return [Finding("memory", "ok", text)]
