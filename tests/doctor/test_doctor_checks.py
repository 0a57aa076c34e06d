"""Findings of the doctor: every case is a snapshot, none a real machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.device.faults.kernel_log import KernelLog
from rkdeploy.device.profiling.kernel_files import ClockFiles
from rkdeploy.device.runtime.board_identity import Board
from rkdeploy.doctor.finding import Finding
from rkdeploy.doctor.node_access import may_use
from rkdeploy.doctor.system import DecodeFacts, Disk, LibraryFile, Node, System, ToolkitTrial, User
from rkdeploy.doctor.system_checks import check_system
from rkdeploy.doctor.tested_versions import KnownPackage, KnownVersions
from rkdeploy.doctor.trial_process import Trial
from rkdeploy.doctor.video_trial import VideoTrial, try_video

GB = 10**9
TESTED = KnownVersions(
    "<3.15,>=3.10",
    (
        KnownPackage("numpy", "<3,>=1.26"), KnownPackage("opencv-python", "<6,>=4.8"),
        KnownPackage("msgspec", "<0.24,>=0.19"), KnownPackage("onnx", "<1.24,>=1.16.1", "graph"),
    ),
)  # fmt: skip
ROOT_USER = User(0, "root", (0,), ("root",))
USER = User(1000, "rock", (1000, 44), ("rock", "video"))
NPU_NODE = Node("/dev/dri/renderD129", 0, 105, 0o660, "render")
CAMERA = Node("/dev/video11", 0, 44, 0o660, "video", "rkisp_mainpath")
NPU_CLOCK = ClockFiles("NPU", "performance", GB, GB, GB, "sys/class/devfreq/fdab0000.npu/governor")
BOARD = System(
    python=(3, 11, 2),
    python_path="/opt/rkdeploy/bin/python",
    packages={"numpy": "1.26.4", "opencv-python-headless": "4.11.0.86", "msgspec": "0.22.0", "typer": "0.28.0",
              "rich": "15.0.0", "rknn-toolkit-lite2": "2.3.2"},
    machine="aarch64",
    os_name="Debian GNU/Linux 12 (bookworm)",
    kernel="5.10.160-rockchip",
    board_model="Radxa ROCK 5B",
    board=Board("rk3588", "0.9.8"),
    user=User(1000, "rock", (44, 105, 1000), ("video", "render", "rock")),
    library=LibraryFile("/usr/lib/librknnrt.so", by_variable=False, exists=True, machine="aarch64", version="2.3.2"),
    decode=DecodeFacts("native", "/opt/rkdeploy/librkdeploy-decode-aarch64.so"),
    npu_nodes=(NPU_NODE,),
    other_render_nodes=(),
    dma_heaps=(),
    cameras=(CAMERA,),
    clocks=(NPU_CLOCK,),
    memory={"MemTotal": 8 * GB, "MemAvailable": 7 * GB},
    disks=(Disk("/var/lib/rkdeploy", 20 * GB, 64 * GB),),
    in_docker=False,
    tested=TESTED,
    work=(Trial("run", ""),),
    video=VideoTrial(("pyav-rkmpp 18.1.0.post2",), ("h264_rkmpp", "hevc_rkmpp")),
)  # fmt: skip
HOST = replace(
    BOARD,
    video=VideoTrial(("av 18.1.0",)),
    packages={"numpy": "1.26.4", "opencv-python": "4.11.0.86", "msgspec": "0.22.0", "typer": "0.28.0", "rich": "15.0.0",
              "onnx": "1.18.0", "onnxsim": "0.7.3", "ml_dtypes": "0.5.0", "onnxruntime": "1.20.1", "protobuf": "4.25.4",
              "setuptools": "79.0.1", "torch": "2.4.0", "rknn-toolkit2": "2.5.0"},
    machine="x86_64",
    board_model=None,
    board=Board(None, None),
    library=LibraryFile("/usr/lib/librknnrt.so", by_variable=False, exists=False, machine=None, version=None),
    npu_nodes=(),
    clocks=(),
    cameras=(),
    toolkit=ToolkitTrial("/opt/rkdeploy/bin/python", "2.5.0"),
)  # fmt: skip


def bad(system: System) -> list[Finding]:
    return [finding for finding in check_system(system) if finding.status != "ok"]


def only(system: System) -> Finding:
    (finding,) = bad(system)
    return finding


@pytest.mark.parametrize("system", [BOARD, HOST])
def test_a_machine_in_order(system: System) -> None:
    """A board and a host that have everything give nothing but ok."""
    assert bad(system) == []
    assert any(finding.check == "NPU device" for finding in check_system(system)) == system.is_board


def test_every_complaint_has_a_way_out() -> None:
    """Warnings and problems on a machine where everything is wrong come with what was expected or a fix."""
    broken = replace(
        BOARD, python=(3, 15, 0), packages={}, user=USER,
        work=(Trial("run", "", "AttributeError: gone"),), npu_nodes=(replace(NPU_NODE, mode=0o600),),
        library=replace(BOARD.library, exists=False), board=Board("rk3588", "0.8.2"), disks=(Disk("/", 1, GB),),
        memory={"MemTotal": GB, "MemAvailable": 1000}, cameras=(replace(CAMERA, gid=7),), in_docker=True,
        clocks=(replace(NPU_CLOCK, limit_hz=GB // 2),), dma_heaps=(replace(NPU_NODE, path="/dev/dma_heap/system"),),
    )  # fmt: skip
    serious = [finding for finding in bad(broken) if finding.status in ("warning", "problem")]
    assert len(serious) > 10
    assert all(finding.fix for finding in serious), [finding for finding in serious if not finding.fix]


@pytest.mark.parametrize(
    ("version", "good"), [((3, 9, 9), False), ((3, 10, 0), True), ((3, 14, 2), True), ((3, 15, 0), False)]
)
def test_python_versions(version: tuple[int, int, int], *, good: bool) -> None:
    """As the package's metadata says; what is outside is a problem that names the bounds."""
    found = bad(replace(BOARD, python=version))
    assert [(one.check, one.status, one.expected) for one in found] == (
        [] if good else [("Python", "problem", "Python 3.10 to below 3.15, as tested")]
    )


def test_a_python_newer_than_the_vendors() -> None:
    """On a host with Python 3.13 the fix is how a build gets its toolkit; on a board, what runs without the
    vendor's.
    """
    packages = {name: version for name, version in HOST.packages.items() if name != "rknn-toolkit2"}
    host = bad(replace(HOST, python=(3, 13, 0), packages=packages, toolkit=None))
    assert {(one.check, one.status) for one in host} == {("Python", "note"), ("rknn-toolkit2", "note")}
    assert all("3.10 to 3.12" in one.fix and "--toolkit-python" in one.fix for one in host)
    lite = {name: version for name, version in BOARD.packages.items() if name != "rknn-toolkit-lite2"}
    assert (
        "ends with Python 3.12; the backend librknnrt" in only(replace(BOARD, python=(3, 13, 0), packages=lite)).found
    )


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        ("numpy", "1.25.2", "numpy 1.26 to below 3, as tested"),
        ("opencv-python-headless", "6.0.0.1", "opencv-python-headless 4.8 to below 6, as tested"),
        ("onnx", "1.24.0", "onnx 1.16.1 to below 1.24, as tested"),
        ("msgspec", "no version", "msgspec 0.19 to below 0.24, as tested"),
    ],
)
def test_versions_that_were_not_tested(package: str, version: str, expected: str) -> None:
    """A version outside the tested bounds is a warning with pip's words, whichever part and whichever OpenCV it is."""
    found = only(replace(BOARD, packages={**BOARD.packages, package: version}))
    assert (found.check, found.status, found.expected) == ("packages", "warning", expected)
    assert f'pip install "{package}<' in found.fix


def test_bounds_that_are_not_known() -> None:
    """Without metadata (a source tree that was not installed) no version is checked."""
    assert bad(replace(BOARD, tested=KnownVersions(), packages={})) != []
    assert {one.check for one in bad(replace(BOARD, tested=KnownVersions(), packages={}))} == {"rknn-toolkit-lite2"}


def test_a_command_that_does_not_work() -> None:
    """A failed trial run is a problem with its cause, the tested versions of the packages and how to get them."""
    broken = replace(HOST, work=(Trial("run", ""), Trial("build", "graph", "ImportError: no onnx.mapping")))
    found = only(broken)
    assert (found.check, found.status) == ("trial run", "problem")
    assert found.found == "rkdeploy build: ImportError: no onnx.mapping"
    assert found.expected == "onnx 1.16.1 to below 1.24, as tested"
    assert found.fix.endswith('pip install "onnx<1.24,>=1.16.1"')
    missing = only(replace(HOST, work=(Trial("run", "", "ImportError: libGL.so.1: cannot open shared object file"),)))
    assert "opencv-python-headless" in missing.fix
    assert "libgl1" in missing.fix


@pytest.mark.parametrize(
    ("user", "node", "can"),
    [
        (ROOT_USER, replace(NPU_NODE, mode=0o000), True),
        (USER, NPU_NODE, False),
        (replace(USER, gids=(105,)), NPU_NODE, True),
        (replace(USER, gids=(105,)), replace(NPU_NODE, mode=0o640), False),
        (replace(USER, uid=7), replace(NPU_NODE, uid=7), True),
        (USER, replace(NPU_NODE, mode=0o666), True),
        (replace(USER, uid=7), replace(NPU_NODE, uid=7, mode=0o066), False),  # the owner's bits are the owner's
    ],
)
def test_permission_bits(user: User, node: Node, *, can: bool) -> None:
    """Owner, group and others are judged as the kernel judges them, and root may everything."""
    assert may_use(node, user) is can


@pytest.mark.parametrize(
    ("decode", "status", "fix"),
    [
        (DecodeFacts("native", "/x.so"), "ok", ""),
        (DecodeFacts("numpy", "RKDEPLOY_DECODE=numpy", asked_for=True), "note", ""),
        (DecodeFacts("numpy", 'there is no "/x.so"'), "note", "python -m rkdeploy.device.postprocess.native.compile"),
        (DecodeFacts("", 'RKDEPLOY_DECODE is "rust"', asked_for=True), "problem", "unset RKDEPLOY_DECODE"),
        (DecodeFacts("", "there is none", asked_for=True, hint="make it"), "problem", "make it"),
    ],
)
def test_which_decode(decode: DecodeFacts, status: str, fix: str) -> None:
    """The decoder in use is named with the reason; a missing library comes with the command that makes it."""
    (found,) = (finding for finding in check_system(replace(HOST, decode=decode)) if finding.check == "decode")
    assert found.status == status
    assert decode.why in found.found
    assert fix in found.fix


def test_a_user_outside_the_group() -> None:
    """The fix for a user who may not use the NPU is the group and the command."""
    found = only(replace(BOARD, user=USER))
    assert (found.status, found.check) == ("problem", "NPU device")
    assert found.fix.startswith("sudo usermod -aG render rock")


def test_a_node_that_only_root_may_use_needs_the_rule() -> None:
    """If no group helps, the fix is the udev rule."""
    found = only(replace(BOARD, npu_nodes=(replace(NPU_NODE, gid=0, group="root"),)))
    assert "99-rkdeploy-npu.rules" in found.fix


def test_no_npu_device() -> None:
    """A board without an NPU node is a problem that lists the GPU's node as another driver's; in Docker with the
    option.
    """
    gpu = replace(NPU_NODE, path="/dev/dri/renderD128")
    found = only(replace(BOARD, npu_nodes=(), other_render_nodes=(gpu,)))
    assert (found.status, found.check) == ("problem", "NPU device")
    assert "/dev/dri/renderD128 belong" in found.found
    assert "dmesg" in found.fix
    inside = bad(replace(BOARD, npu_nodes=(), in_docker=True))
    assert "docker run --device" in inside[0].fix


def test_the_dockerenv_trap() -> None:
    """A /.dockerenv without renderD129 stops rknn-toolkit-lite2, also where the NPU is /dev/rknpu."""
    old_node = replace(NPU_NODE, path="/dev/rknpu")
    found = only(replace(BOARD, npu_nodes=(old_node,), in_docker=True))
    assert (found.check, found.status) == ("container", "warning")
    assert "sudo rm /.dockerenv" in found.fix
    assert bad(replace(BOARD, in_docker=True)) == []
    assert only(replace(HOST, in_docker=True)).status == "note"


def test_the_runtime_library() -> None:
    """A missing library, one for another machine, and a file of another kind are problems; one without a version a
    warning.
    """
    library = BOARD.library
    assert only(replace(BOARD, library=replace(library, exists=False))).status == "problem"
    assert "is for x86_64" in only(replace(BOARD, library=replace(library, machine="x86_64"))).found
    assert "no ELF library" in only(replace(BOARD, library=replace(library, machine=None))).found
    assert only(replace(BOARD, library=replace(library, version=None))).status == "warning"


def test_a_package_newer_than_the_runtime() -> None:
    """rknn-toolkit-lite2 2.5.0 on librknnrt 2.3.2 is a warning; the package missing is a note."""
    newer = replace(BOARD, packages={**BOARD.packages, "rknn-toolkit-lite2": "2.5.0"})
    assert "newer than librknnrt 2.3.2" in only(newer).found
    without = {name: version for name, version in BOARD.packages.items() if name != "rknn-toolkit-lite2"}
    assert only(replace(BOARD, packages=without)).status == "note"


def test_driver_versions() -> None:
    """An old driver is a warning; one that only root could see is a note to try again as root."""
    assert "0.8.2" in only(replace(BOARD, board=Board("rk3588", "0.8.2"))).found
    hidden = only(replace(BOARD, board=Board("rk3588", None)))
    assert (hidden.status, "sudo" in hidden.fix) == ("note", True)


def test_a_device_without_a_soc() -> None:
    """An NPU node without a device tree is a container that hides it: the vendor's runtime would fail."""
    assert only(replace(BOARD, board=Board(None, "0.9.8"), in_docker=True)).check == "machine"


def test_clocks() -> None:
    """A moving governor is a note with its command, a capped clock a warning."""
    ondemand = only(replace(BOARD, clocks=(replace(NPU_CLOCK, governor="rknpu_ondemand"),)))
    assert ondemand.status == "note"
    assert ondemand.fix == "echo performance | sudo tee /sys/class/devfreq/fdab0000.npu/governor"
    assert only(replace(BOARD, clocks=(replace(NPU_CLOCK, limit_hz=GB // 2),))).status == "warning"


def test_cameras_disk_and_memory() -> None:
    """A closed camera and little space are warnings, a full disk is a problem."""
    closed = only(replace(BOARD, cameras=(replace(CAMERA, gid=9, group="cam"),)))
    assert closed.fix.startswith("sudo usermod -aG cam rock")
    assert only(replace(BOARD, disks=(Disk("/", GB // 2, GB),))).status == "warning"
    assert only(replace(BOARD, disks=(Disk("/", 10**7, GB),))).status == "problem"
    assert only(replace(BOARD, memory={"MemTotal": GB, "MemAvailable": 10**8})).status == "warning"
    assert only(replace(BOARD, memory={})).status == "note"


@pytest.mark.parametrize(
    ("package", "version", "fix"),
    [
        ("numpy", "2.1.0", '"numpy==1.26.4"'),
        ("onnx", "1.19.0", '"onnx==1.18.0"'),
        ("onnx", "1.15.0", '"onnx==1.18.0"'),
        ("setuptools", "80.0.0", '"setuptools<80"'),
        ("protobuf", "5.29.0", '"protobuf==4.25.4"'),
        ("opencv-python", "4.12.0.88", '"opencv-python==4.11.0.86"'),
    ],
)
def test_the_toolkits_pins(package: str, version: str, fix: str) -> None:
    """A version that the toolkit does not bear is a warning while it works, and comes with pip's exact words."""
    machine = replace(HOST, packages={**HOST.packages, package: version}, tested=KnownVersions())
    found = only(machine)
    assert (found.status, found.check) == ("warning", "toolkit pins")
    assert found.fix == f"/opt/rkdeploy/bin/python -m pip install {fix}"


def test_a_toolkit_that_cannot_be_imported() -> None:
    """Its failure is a problem, and so is each version that explains it."""
    failed = ToolkitTrial(HOST.python_path, None, "it needs setuptools < 80", "Install it with: ...")
    found = bad(replace(HOST, toolkit=failed, packages={**HOST.packages, "setuptools": "82.0"}))
    assert [(item.check, item.status) for item in found] == [("rknn-toolkit2", "problem"), ("toolkit pins", "problem")]


def test_a_host_without_the_toolkit() -> None:
    """No toolkit is a note on a host and nothing on a board; one in another interpreter is judged there."""
    packages = {name: version for name, version in HOST.packages.items() if name != "rknn-toolkit2"}
    bare = replace(HOST, packages={**packages, "numpy": "2.2.0"}, toolkit=None)
    assert only(bare).status == "note"
    elsewhere = ToolkitTrial("/home/me/toolkit/bin/python", "2.3.2")
    assert bad(replace(bare, toolkit=elsewhere)) == []


def test_two_opencvs() -> None:
    """Two OpenCV packages overwrite each other; none is a problem."""
    both = replace(HOST, packages={**HOST.packages, "opencv-python-headless": "4.11.0.86"})
    assert only(both).status == "warning"
    none = {name: version for name, version in HOST.packages.items() if "opencv" not in name}
    assert only(replace(HOST, packages=none)).status == "problem"


RESETS = ("6,1,9000000,-;RKNPU: soft reset, num: 6", "6,2,605375257,-;RKNPU: soft reset, num: 6")


@pytest.mark.parametrize(
    ("uptime", "age"),
    [
        (None, "605 s after boot: "),
        (665.4, "605 s after boot, 60 s ago: "),
        (606.0 + 7200, "605 s after boot, 2 h ago: "),
    ],
)
def test_faults_in_the_kernels_log(uptime: float | None, age: str) -> None:
    """Count, latest occurrence, its line, the fix and who reported it; on a PC the log is not looked at."""
    log = KernelLog(RESETS, "/dev/kmsg")
    found = only(replace(BOARD, kernel_log=log, uptime_s=uptime))
    assert (found.check, found.status) == ("kernel log", "warning")
    assert f'2 lines, the latest {age}"RKNPU: soft reset, num: 6"' in found.found
    assert "rknpu 0.9.8 or later" in found.fix
    assert found.fix.endswith("rknpu_reset.c")
    assert bad(replace(HOST, kernel_log=log)) == []


def test_a_kernel_log_without_faults_or_permission() -> None:
    """None is ok with the number of lines; a log that may not be read is a note that says how to allow it."""
    (clean,) = [
        one
        for one in check_system(replace(BOARD, kernel_log=KernelLog(("a",) * 1234, "dmesg")))
        if one.check == "kernel log"
    ]
    assert (clean.status, clean.found) == ("ok", "no known fault in 1,234 lines of dmesg")
    closed = only(replace(BOARD, kernel_log=KernelLog((), "", "/dev/kmsg: Operation not permitted")))
    assert (closed.status, closed.found) == ("note", "may not be read (/dev/kmsg: Operation not permitted)")
    assert "usermod -aG adm,systemd-journal rock" in closed.fix


def test_dma_memory_below_4_gb() -> None:
    """Heaps without one below 4 GB are a note; with one all is well."""
    heaps = [replace(NPU_NODE, path=f"/dev/dma_heap/{name}") for name in ("system", "system-uncached")]
    found = only(replace(BOARD, dma_heaps=tuple(heaps)))
    assert (found.check, found.status) == ("DMA memory", "note")
    assert "CONFIG_DMABUF_HEAPS_ROCKCHIP" in found.fix
    below = replace(NPU_NODE, path="/dev/dma_heap/system-uncached-dma32")
    assert bad(replace(BOARD, dma_heaps=(*heaps, below))) == []


REFUSED = "h264_rkmpp cannot be opened: Failed to init MPP context: -1; /dev/mpp_service: "


@pytest.mark.parametrize(
    ("video", "status", "found", "fix"),
    [
        (None, "note", "no package for video: OpenCV decodes in software", "sudo board/install.sh --video"),
        (VideoTrial(("av 18.1.0",)), "note", "av 18.1.0 decodes in software", "install pyav-rkmpp"),
        (
            VideoTrial(("pyav-rkmpp 18",), ("h264_rkmpp",), ("vp9_rkmpp cannot be opened: no",)),
            "note",
            "pyav-rkmpp 18, opened: h264_rkmpp; vp9_rkmpp cannot be opened: no; software decodes instead",
            "dmesg",
        ),
        (
            VideoTrial(("pyav-rkmpp 18",), (), (f"{REFUSED}Permission denied", "hevc_rkmpp cannot be opened: x")),
            "warning",
            f"pyav-rkmpp 18, opened: no decoder of the hardware; {REFUSED}Permission denied (and 1 more); software",
            "sudo usermod -aG video rock",
        ),
        (
            VideoTrial(("pyav-rkmpp 18",), (), (f"{REFUSED}No such file or directory",)),
            "warning",
            "No such file or directory; software decodes instead",
            "a kernel of the board's vendor, which has MPP",
        ),
        (VideoTrial(("av 18", "pyav-rkmpp 18")), "warning", "overwrite each other's av", "uninstall -y av pyav-rkmpp"),
        (VideoTrial(("pyav-rkmpp 18",), error="the trial ended with signal 11"), "problem", "signal 11", "reinstall"),
    ],
)
def test_video(video: VideoTrial | None, status: str, found: str, fix: str) -> None:
    """The package, decoders that open, and the reason and fix of those that do not."""
    (finding,) = [one for one in check_system(replace(BOARD, video=video)) if one.check == "video"]
    assert finding.status == status
    assert found in finding.found
    assert fix in finding.fix


def test_video_on_a_pc_and_in_a_container() -> None:
    """A PC needs no package; a container needs the device."""
    (finding,) = [one for one in check_system(replace(HOST, video=None)) if one.check == "video"]
    assert finding.status == "ok"
    missing = VideoTrial(("pyav-rkmpp 18",), (), (f"{REFUSED}No such file or directory",))
    (finding,) = [one for one in check_system(replace(BOARD, video=missing, in_docker=True)) if one.check == "video"]
    assert "docker run --device /dev/mpp_service" in finding.fix


def test_the_trial_of_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package here has no decoders of the hardware; one that cannot be imported is an error with its cause."""
    pytest.importorskip("av")
    assert try_video({"numpy": "1"}) is None
    assert try_video({"av": "18.1.0"}) == VideoTrial(("av 18.1.0",))
    monkeypatch.setattr("rkdeploy.doctor.video_trial._CODE", "import no_such_package")
    found = try_video({"av": "18.1.0"})
    assert found is not None
    assert found.error == "the trial ended with exit code 1: ModuleNotFoundError: No module named 'no_such_package'"
