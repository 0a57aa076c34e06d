"""A snapshot of a machine: everything that the doctor checks, read once.  Reading does not judge."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import re
import shutil
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rkdeploy.contract.bundle import BOARD_HOME
from rkdeploy.device.cameras.v4l2 import Ioctl, ask_by_ioctl, read_video_device
from rkdeploy.device.cameras.video_device import VideoDevice
from rkdeploy.device.faults.kernel_log import NO_LOG, KernelLog, read_kernel_log
from rkdeploy.device.postprocess.native.decode_library import decode_choice
from rkdeploy.device.profiling.kernel_files import (
    ClockFiles,
    board_model,
    clocks,
    entries_of,
    kernel_release,
    memory_bytes,
    text_of,
)
from rkdeploy.device.profiling.package_versions import installed
from rkdeploy.device.runtime.board_identity import Board, read_board
from rkdeploy.device.runtime.librknnrt.library import DEFAULT_LIBRARY, LIBRARY_VARIABLE, version_in_file
from rkdeploy.doctor.tested_versions import NOT_INSTALLED, KnownVersions, read_known_versions
from rkdeploy.doctor.trial_process import Trial, try_work
from rkdeploy.doctor.video_trial import VIDEO_PACKAGES, VideoTrial, try_video
from rkdeploy.errors import RkdeployError

OPENCV: Final = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
PACKAGES: Final = (
    "numpy", *OPENCV, "msgspec", "typer", "rich",
    "onnx", "onnxsim", "ml_dtypes", "onnxruntime", "pyyaml", "protobuf", "setuptools", "torch",
    "rknn-toolkit2", "rknn-toolkit-lite2", *VIDEO_PACKAGES,
)  # fmt: skip
NPU_NODE, OLD_NPU_NODE = "/dev/dri/renderD129", "/dev/rknpu"
_MACHINES: Final = {183: "aarch64", 62: "x86_64", 40: "arm", 3: "x86", 243: "riscv64"}  # e_machine of an ELF header
_NAME: Final = re.compile(r'^PRETTY_NAME="?([^"\n]*)"?$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class User:
    """The user of this process: numbers and names of the user and its groups."""

    uid: int
    name: str
    gids: tuple[int, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A device node.

    Attributes:
        path: as a program opens it, `/dev/dri/renderD129`.
        uid, gid, mode: owner, group and permission bits.
        group: name of the group; its number if it has no name.
        label: the driver's name of the device; empty when unknown.
    """

    path: str
    uid: int
    gid: int
    mode: int
    group: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """The NPU runtime's file.

    Attributes:
        path: path that is searched.
        by_variable: True if the environment variable set it.
        exists: True if the file exists.
        machine: processor that it is built for, `aarch64`; None when it is not an ELF file.
        version: version string in the file.
    """

    path: str
    by_variable: bool
    exists: bool
    machine: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """Space in a folder."""

    folder: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ToolkitTrial:
    """Result of importing rknn-toolkit2 in a child process.

    Attributes:
        python: the interpreter that tried.
        version: of the toolkit; None when it cannot be imported.
        error, hint: why not, and what to do.
    """

    python: str
    version: str | None
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class DecodeFacts:
    """The decoder in use.

    Attributes:
        by: `native` (the C library) or `numpy`; empty if the variable asks for one that does not exist.
        why: the library's path, or the reason why it is not in use.
        asked_for: True if the variable chose it.
        hint: what to do if it cannot be used.
    """

    by: str
    why: str
    asked_for: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """Everything that is checked.

    Attributes:
        python: version; python_path: the interpreter.
        packages: installed ones of `PACKAGES`, name to version.
        machine: `aarch64`.
        os_name, kernel, board_model: their own names.
        board: SoC and driver.
        user: the user of this process.
        library: the NPU runtime's file.
        decode: the decoder of this process.
        npu_nodes: device nodes of the NPU that exist; other_render_nodes: those of the GPU and others.
        dma_heaps: device nodes of DMA memory.
        cameras: /dev/video*.
        clocks: with their governors.
        memory: of /proc/meminfo, in bytes.
        disks: folders that are written to.
        in_docker: True if /.dockerenv exists.
        toolkit: None if it was not tried.
        tested: the versions that rkdeploy was tested with.
        work: results of the trial runs.
        video_devices: answers of `cameras` to V4L2 requests.
        kernel_log: of this boot; empty on a PC.
        uptime_s: seconds since boot; None if unknown.
        video: trial of the package for video; None without one.
    """

    python: tuple[int, int, int]
    python_path: str
    packages: dict[str, str]
    machine: str
    os_name: str | None
    kernel: str | None
    board_model: str | None
    board: Board
    user: User
    library: LibraryFile
    decode: DecodeFacts
    npu_nodes: tuple[Node, ...]
    other_render_nodes: tuple[Node, ...]
    dma_heaps: tuple[Node, ...]
    cameras: tuple[Node, ...]
    clocks: tuple[ClockFiles, ...]
    memory: dict[str, int]
    disks: tuple[Disk, ...]
    in_docker: bool
    toolkit: ToolkitTrial | None = None
    tested: KnownVersions = NOT_INSTALLED
    work: tuple[Trial, ...] = ()
    video_devices: tuple[VideoDevice, ...] = ()
    kernel_log: KernelLog = NO_LOG
    uptime_s: float | None = None
    video: VideoTrial | None = None

    @property
    def is_board(self) -> bool:
        """True if this machine is to run models on an NPU."""
        return self.board.soc is not None or bool(self.npu_nodes)


def read_system(sysroot: Path = Path("/"), toolkit: ToolkitTrial | None = None, ioctl: Ioctl = ask_by_ioctl) -> System:
    """Read the machine's state.  Facts that cannot be read are empty or None.

    Args:
        sysroot: folder that contains `proc`, `sys`, `dev`, `usr` and `etc`.
        toolkit: result of its trial import, for the snapshot.
        ioctl: sends requests to video devices.
    """
    tested = read_known_versions()
    packages = installed({*PACKAGES, *(one.package for one in tested.packages)})
    render = _nodes(sysroot, "dev/dri", "renderD*")
    npu = [node for node in render if _is_npu(sysroot, node)]
    cameras = _nodes(sysroot, "dev", "video[0-9]*")
    board = read_board(sysroot)
    on_board = board.soc is not None or bool(npu)
    return System(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        python_path=sys.executable,
        packages=packages,
        machine=platform.machine(),
        os_name=_os_name(sysroot),
        kernel=kernel_release(sysroot),
        board_model=board_model(sysroot),
        board=board,
        user=_user(),
        library=_library(sysroot),
        decode=_decode(),
        npu_nodes=(*npu, *_nodes(sysroot, "dev", "rknpu")),
        other_render_nodes=tuple(node for node in render if node not in npu),
        dma_heaps=_nodes(sysroot, "dev/dma_heap", "*"),
        cameras=cameras,
        clocks=clocks(sysroot),
        memory=memory_bytes(sysroot),
        disks=_disks(sysroot),
        in_docker=(sysroot / ".dockerenv").exists(),
        toolkit=toolkit,
        tested=tested,
        work=try_work(packages),
        video_devices=tuple(
            read_video_device(sysroot / node.path.lstrip("/"), node.path, ioctl=ioctl) for node in cameras
        ),
        kernel_log=read_kernel_log(sysroot) if on_board else NO_LOG,
        uptime_s=_uptime(sysroot),
        video=try_video(packages),
    )


def _uptime(sysroot: Path) -> float | None:
    try:
        return float((text_of(sysroot / "proc/uptime") or "").split()[0])
    except (ValueError, IndexError):
        return None


def _user() -> User:
    gids = tuple(sorted({os.getegid(), *os.getgroups()}))
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user may have no entry
        name = str(os.geteuid())
    return User(os.geteuid(), name, gids, tuple(_group_name(gid) for gid in gids))


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _nodes(sysroot: Path, folder: str, pattern: str) -> tuple[Node, ...]:
    nodes = (_node(sysroot, path) for path in entries_of(sysroot / folder, pattern))
    return tuple(node for node in nodes if node is not None)


def _node(sysroot: Path, path: Path) -> Node | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return Node(
        path=f"/{path.relative_to(sysroot).as_posix()}",
        uid=facts.st_uid,
        gid=facts.st_gid,
        mode=stat.S_IMODE(facts.st_mode),
        group=_group_name(facts.st_gid),
        label=text_of(sysroot / "sys/class/video4linux" / path.name / "name") or "",
    )


def _is_npu(sysroot: Path, node: Node) -> bool:
    """True for an NPU's node, by the driver that the kernel names; by the usual name if it names none."""
    driver = sysroot / "sys/class/drm" / Path(node.path).name / "device/driver"
    try:
        return driver.readlink().name.upper() == "RKNPU"
    except OSError:
        return node.path == NPU_NODE and not driver.parent.exists() and read_board(sysroot).soc is not None


def _library(sysroot: Path) -> LibraryFile:
    named = os.environ.get(LIBRARY_VARIABLE)
    path = Path(named) if named else sysroot / DEFAULT_LIBRARY.relative_to("/")
    exists = path.is_file()
    return LibraryFile(
        path=named or str(DEFAULT_LIBRARY),
        by_variable=bool(named),
        exists=exists,
        machine=_elf_machine(path) if exists else None,
        version=version_in_file(path) if exists else None,
    )


def _decode() -> DecodeFacts:
    try:
        chosen = decode_choice()
    except RkdeployError as error:
        return DecodeFacts("", error.message, asked_for=True, hint=error.hint)
    return DecodeFacts("numpy" if chosen.library is None else "native", chosen.why, chosen.asked_for)


def _elf_machine(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return None
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    (number,) = struct.unpack_from("<H", header, 18)
    return _MACHINES.get(number, f"ELF machine {number}")


def _os_name(sysroot: Path) -> str | None:
    found = _NAME.search(text_of(sysroot / "etc/os-release") or "")
    return found[1] if found else None


def _disks(sysroot: Path) -> tuple[Disk, ...]:
    home = os.environ.get("RKDEPLOY_HOME") or BOARD_HOME
    folders = {str(Path.cwd()): Path.cwd(), home: sysroot / home.lstrip("/"), "/tmp": sysroot / "tmp"}  # noqa: S108  (its free space is looked at)
    found: dict[int, Disk] = {}
    for name, folder in folders.items():
        try:
            usage, device = shutil.disk_usage(folder), folder.stat().st_dev
        except OSError:
            continue
        found.setdefault(device, Disk(name, usage.free, usage.total))  # one line per file system
    return tuple(found.values())
