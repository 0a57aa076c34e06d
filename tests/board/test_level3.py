"""`rkdeploy run` as on a board: aarch64 under emulation, with the real rknn-toolkit-lite2 and with our own binding.

The built sample model runs in the toolkit's simulator on this machine; its raw int8 outputs are recorded and played by
the stand-in librknnrt.so on the emulated side, which finds them by the CRC of the network input.  So the letterbox, the
way to the runtime and back, decode (by the C library on both sides) and output are all proven to be the same; numbers
and speed of an NPU are not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.contract.bundle import CONTRACT, Bundle, new_bundle
from rkdeploy.contract.embedded_contract import custom_string
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.runtime.librknnrt.runtime import trial_images
from rkdeploy.images.file import read_image
from rkdeploy.images.fit import Letterbox
from tests.board.sample_model import shim_text
from tests.command_line import rkdeploy, without_times

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "calib_data"
IMAGES = [SAMPLE / "images" / "val" / f"val_{number:04}.jpg" for number in range(4)]
SERVER = Path(__file__).with_name("command_server.py")
VIDEO_PROBE = Path(__file__).with_name("video_probe.py")
SKIP = "RKDEPLOY_SKIP_LEVEL3"
ROOT_VARIABLE = "RKDEPLOY_ARM64_ROOT"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get(SKIP) == "1", reason=f"{SKIP}=1: emulated boards are left out"),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get, which fetches Debian's arm64 packages"),
    pytest.mark.skipif(
        shutil.which("qemu-aarch64-static") is None, reason="qemu-aarch64-static is not installed: bash tests/needs.sh"
    ),
]


def emulated(root: Path, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of that folder's Python under qemu, with this source tree."""
    command = ["qemu-aarch64-static", "-L", str(root), str(root / "usr" / "bin" / "python3.11"), *map(str, arguments)]
    return command, {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{root / 'opt' / 'site'}:{ROOT}",
        "PYTHONPYCACHEPREFIX": str(root / "pycache"),  # compiling under emulation costs most of the time
        "OPENBLAS_NUM_THREADS": "1",  # a fork has no other thread
        "RKDEPLOY_DECODE": "native",
    }


@dataclass(frozen=True)
class EmulatedBoard:
    """An arm64 folder, the stand-in's model and log, and how to run rkdeploy there."""

    root: Path
    spec: Path
    log: Path
    server: subprocess.Popen[str]

    def rkdeploy(self, *arguments: str | Path, fail: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line of this source tree under qemu, in a fork of the server."""
        files = [self.log.with_name(name) for name in ("stdout", "stderr")]
        words = [*map(str, arguments)]
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = [words, self._runtime(fail), *map(str, files)]
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return subprocess.CompletedProcess(words, code, *(file.read_text() for file in files))

    def rkdeploy_alone(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it in a process of its own, as it is started on a board."""
        command, inside = emulated(self.root, "-m", "rkdeploy", *arguments)
        return subprocess.run(
            command, cwd=ROOT, env=inside | self._runtime(""), capture_output=True, text=True, timeout=300, check=False
        )

    def _runtime(self, fail: str) -> dict[str, str]:
        """The stand-in's variables, with a new log."""
        self.log.unlink(missing_ok=True)
        return {"RKNN_SHIM_SPEC": str(self.spec), "RKNN_SHIM_LOG": str(self.log), "RKNN_SHIM_FAIL": fail}

    def calls(self, function: str) -> int:
        """Number of calls of the stand-in."""
        return sum(line.startswith(f"{function}(") for line in self.log.read_text().splitlines())


@pytest.fixture(scope="module")
def arm64_root() -> Path:
    """The arm64 folder; made when it is not there."""
    root = Path(os.environ.get(ROOT_VARIABLE) or ROOT / ".cache" / "arm64-root")
    made = subprocess.run(
        [str(Path(__file__).with_name("make_arm64_root.sh")), str(root)],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.fail(
            f"The arm64 folder cannot be made (set {SKIP}=1 where that is so):\n{made.stdout}{made.stderr}"[-3000:],
            pytrace=False,
        )
    compile_here(root)
    return root


def compile_here(root: Path) -> None:
    """Compile what is imported there without emulation, where this machine's Python makes the same bytecode."""
    if sys.version_info[:2] != (3, 11) or (root / "pycache").exists():
        return
    site = root / "opt" / "site"
    packages = ("cv2", "msgspec", "numpy", "psutil", "pydantic", "rich", "rknnlite", "ruamel", "typer")
    rooms = (ROOT / "rkdeploy" / room for room in ("cli", "contract", "device", "images", "system"))
    for depth, folders in ((0, [root / "usr/lib/python3.11"]), (9, [*(site / name for name in packages), *rooms])):
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", "-r", str(depth), "-x", "/tests?/", *folders],
            env={**os.environ, "PYTHONPYCACHEPREFIX": str(root / "pycache")}, check=False, timeout=120,
        )  # fmt: skip


@pytest.fixture(scope="module")
def board(arm64_root: Path, sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedBoard]:
    """The emulated board, whose runtime answers with what the simulator answered on this machine."""
    folder = tmp_path_factory.mktemp("recorded")
    letterbox = Letterbox(sample_bundle.spec.input)
    with open_runtime("simulator", sample_bundle) as simulator:
        for path in IMAGES:
            image = letterbox(read_image(path)).image
            for index, tensor in enumerate(simulator.infer(image)):
                assert tensor.values.dtype == np.int8
                name = f"output{index}-{zlib.crc32(image.tobytes()):08x}.bin"
                np.ascontiguousarray(tensor.values).tofile(folder / name)
    for value, image in enumerate(
        trial_images((1, sample_bundle.spec.input.height, sample_bundle.spec.input.width, 3))
    ):
        for index, output in enumerate(sample_bundle.spec.outputs):
            name = f"output{index}-{zlib.crc32(image.tobytes()):08x}.bin"
            np.full(output.shape, value, np.int8).tofile(folder / name)
    spec = folder / "shim.txt"
    custom = f"custom {custom_string(sample_bundle.spec)}\n"
    spec.write_text(shim_text(sample_bundle.spec, fill=f"crc:{folder}/output{{index}}") + custom)
    command, inside = emulated(arm64_root, SERVER)
    with subprocess.Popen(
        command, cwd=ROOT, env=inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield EmulatedBoard(arm64_root, spec, folder / "shim.log", server)


@pytest.fixture(scope="module")
def board_bundle(sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the bundle what a board needs: the model, its contract, and their hashes."""
    folder = tmp_path_factory.mktemp("board") / "best"
    with new_bundle(folder) as partial:
        for path in (sample_bundle.rknn, sample_bundle.folder / CONTRACT):
            shutil.copyfile(path, partial / path.name)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of the images."""
    listed = tmp_path_factory.mktemp("source") / "images.txt"
    listed.write_text("".join(f"{path}\n" for path in IMAGES))
    return listed


@pytest.fixture(scope="module")
def expected(sample_bundle: Bundle, source: Path) -> list[str]:
    """The JSON lines of the simulator on this machine."""
    ran = rkdeploy("run", sample_bundle.folder, source, "--backend", "simulator", "--json")
    assert ran.returncode == 0, ran.stderr
    return without_times(ran.stdout)


@pytest.mark.parametrize(("backend", "initialized", "duplicated"), [("auto", 1, 2), ("rknnlite", 3, 0)])
def test_the_board_says_what_the_simulator_says(
    board: EmulatedBoard,
    board_bundle: Path,
    source: Path,
    expected: list[str],
    backend: str,
    initialized: int,
    duplicated: int,
) -> None:
    """The JSON lines of the emulated board, on three cores, equal those of the simulator on this machine.

    `auto` is librknnrt there, which shares the weights; rknnlite loads the model three times.  The bundle there is the
    model and its contract, and the contract is found to be the one in the model.
    """
    run = board.rkdeploy_alone if backend == "auto" else board.rkdeploy
    ran = run("run", board_bundle, source, "--backend", backend, "--json")
    assert ran.returncode == 0, ran.stderr
    assert len(expected) == len(IMAGES)
    assert sum(len(json.loads(line)["detections"]) for line in expected) > 10
    assert without_times(ran.stdout) == expected
    said = " ".join(ran.stderr.split())
    assert "(shim@" in said
    assert ("rknn-toolkit-lite2" in said) == (backend == "rknnlite")
    assert ("Backend librknnrt, because this board has an rk3588" in said) == (backend == "auto")
    counts = [board.calls(function) for function in ("rknn_init", "rknn_dup_context", "rknn_run", "rknn_destroy")]
    trials = 3 * 3 if backend == "auto" else 0  # each context's buffers are tried
    assert counts == [initialized, duplicated, len(IMAGES) + trials, 3]


def test_the_toolkit_keeps_the_text(sample_bundle: Bundle) -> None:
    """The contract that is read back from a bundle is, to the letter, the one whose text is in the built model."""
    assert custom_string(sample_bundle.spec).encode("ascii") + b"\0" in sample_bundle.rknn.read_bytes()


@pytest.mark.parametrize("backend", ["librknnrt", "rknnlite"])
def test_another_models_contract_is_refused(
    board: EmulatedBoard, board_bundle: Path, source: Path, tmp_path: Path, backend: str
) -> None:
    """A contract with other class names and the same tensors is detected by the text that the build left in the
    model.
    """
    other = tmp_path / "other"
    with new_bundle(other) as partial:
        for path in board_bundle.iterdir():
            shutil.copyfile(path, partial / path.name)
        contract = json.loads((partial / CONTRACT).read_text())
        contract["class_names"][0] = "cat"
        (partial / CONTRACT).write_text(json.dumps(contract))
    ran = board.rkdeploy("run", other, source, "--backend", backend)
    assert ran.returncode == 1
    said = " ".join(ran.stderr.split())
    assert 'names: ["bolt","nut","washer"] in the model, ["cat","nut","washer"] in the contract' in said
    assert "Traceback" not in ran.stderr
    assert board.calls("rknn_run") == 0
    assert board.calls("rknn_destroy") == board.log.read_text().count("  -> ctx=")


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("rknn_run:-1@2", "rknn_run failed with -1, RKNN_ERR_FAIL"),
        ("rknn_init:-6", "init_runtime answered -1 (RKNN init failed. error code: RKNN_ERR_MODEL_INVALID)"),
    ],
)
def test_the_real_package_fails_loudly(
    board: EmulatedBoard, sample_bundle: Bundle, source: Path, expected: list[str], fail: str, message: str
) -> None:
    """A failure that rknn-toolkit-lite2 hides is a message and exit code 1; no frame has another frame's boxes."""
    ran = board.rkdeploy(
        "run", sample_bundle.folder, source, "--backend", "rknnlite", "--cores", "0", "--json", fail=fail,
    )  # fmt: skip
    assert ran.returncode == 1
    assert message in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    others = [] if fail.startswith("rknn_init") else [expected[0], *expected[2:]]  # one context: frames run in order
    assert without_times(ran.stdout) == others
    assert board.calls("rknn_destroy") == board.log.read_text().count("  -> ctx=")


def test_video_with_the_boards_package(arm64_root: Path, tmp_path: Path) -> None:
    """pyav-rkmpp lists the hardware's decoders, filters and device, and says why software decodes here.

    The network's input from the planes is within 2 of 255 of the letterbox with FFmpeg's code for aarch64, too.
    """
    av = pytest.importorskip("av")
    package = arm64_root / "opt" / "video"
    if not package.is_dir():
        pytest.skip("the wheel of pyav-rkmpp for aarch64 could not be fetched")
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        for seed in range(3):
            noise = np.random.default_rng(seed).integers(0, 256, (108, 192, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="bgr24")))
        container.mux(stream.encode(None))
    command, inside = emulated(arm64_root, VIDEO_PROBE, clip)
    inside["PYTHONPATH"] = f"{package}:{inside['PYTHONPATH']}"
    ran = subprocess.run(command, cwd=ROOT, env=inside, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert {"h264_rkmpp", "hevc_rkmpp", "mjpeg_rkmpp", "vp9_rkmpp", "av1_rkmpp"} <= set(found["decoders"])
    assert found["encoders"] == ["h264_rkmpp", "hevc_rkmpp", "mjpeg_rkmpp"]
    assert found["filters"] == ["hwdownload", "hwupload", "scale_rkrga"]
    assert "rkmpp" in found["devices"]
    assert "h264 in software (h264_rkmpp cannot be opened: Failed to init MPP context" in found["decoder"]
    assert "/dev/mpp_service: No such file or directory" in found["decoder"]
    assert found["frames"] == 3
    assert found["farthest"] <= 2
