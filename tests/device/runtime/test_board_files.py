"""Facts in a `.rknn`, a library and a board's kernel files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rkdeploy.device.runtime.board_identity import Board, read_board
from rkdeploy.device.runtime.cores import CoreMask, core_count
from rkdeploy.device.runtime.librknnrt.library import version_in_file
from rkdeploy.device.runtime.model_file import ModelFile, read_model_file
from rkdeploy.device.runtime.vendor_log import VendorLog, captured
from rkdeploy.errors import BackendError
from tests.board.sample_model import write_rknn


def test_a_model_file_says_its_versions(tmp_path: Path) -> None:
    """File version, toolkit version and targets are read from header and trailer."""
    path = write_rknn(tmp_path / "a.rknn", file_version=4, toolkit="1.5.0", target="RK3566")
    assert read_model_file(path) == ModelFile(4, "1.5.0", ("rk3566",))


@pytest.mark.parametrize("trailer", [b"", b"\xff" * 12, b"\x02" + b"\0" * 7 + b"[]", b"\x04" + b"\0" * 7 + b"null"])
def test_a_trailer_that_is_none_leaves_the_versions_unknown(tmp_path: Path, trailer: bytes) -> None:
    """Only the header is needed; a later format's trailer is not an error."""
    content = write_rknn(tmp_path / "a.rknn").read_bytes()
    (tmp_path / "b.rknn").write_bytes(content[: 64 + 100] + trailer)
    assert read_model_file(tmp_path / "b.rknn") == ModelFile(6, None, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an RKNN model"),
        (b"version https://git-lfs.github.com/spec/v1", "begins with b'version '"),
        (b"RKNN", "ends too early: 4 bytes"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Empty files, pointers of Git LFS and stumps are named before the runtime answers -6."""
    (tmp_path / "a.rknn").write_bytes(content)
    with pytest.raises(BackendError, match=message):
        read_model_file(tmp_path / "a.rknn")


def test_a_cut_or_missing_model_is_refused(tmp_path: Path) -> None:
    """A truncated copy is distinguished from a complete one."""
    path = write_rknn(tmp_path / "a.rknn")
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(BackendError, match="ends too early: 56 bytes of model, expected 100"):
        read_model_file(path)
    with pytest.raises(BackendError, match="No such file"):
        read_model_file(tmp_path / "none.rknn")


def board_files(root: Path, compatible: bytes, driver: str | None) -> Path:
    (root / "proc" / "device-tree").mkdir(parents=True)
    (root / "proc" / "device-tree" / "compatible").write_bytes(compatible)
    if driver is not None:
        (root / "sys" / "kernel" / "debug" / "rknpu").mkdir(parents=True)
        (root / "sys" / "kernel" / "debug" / "rknpu" / "version").write_text(driver)
    return root


@pytest.mark.parametrize(
    ("compatible", "driver", "board"),
    [
        (b"rockchip,rk3588-evb7-v11\0rockchip,rk3588\0", "RKNPU driver: v0.9.8\n", Board("rk3588", "0.9.8")),
        (b"radxa,rock-5a\0rockchip,rk3588s\0", None, Board("rk3588s", None)),
        (b"raspberrypi,4-model-b\0brcm,bcm2711\0", None, Board(None, None)),
    ],
)
def test_a_board_is_known_by_its_kernel_files(tmp_path: Path, compatible: bytes, driver: str, board: Board) -> None:
    """SoC from the device tree, driver version where its file can be read."""
    assert read_board(board_files(tmp_path, compatible, driver)) == board


def test_a_pc_is_no_board(tmp_path: Path) -> None:
    """Without a device tree nothing is known, and nothing fails."""
    assert read_board(tmp_path) == Board(None, None)


def test_the_version_in_a_library_is_read_without_loading_it(tmp_path: Path) -> None:
    """The banner is found in the file; empty, missing and other files have none."""
    library = tmp_path / "librknnrt.so"
    library.write_bytes(b"\x7fELF\0...\0librknnrt version: 1.4.0 (a10f100eb@2022-09-09T09:07:14)\0rest")
    assert version_in_file(library) == "1.4.0 (a10f100eb@2022-09-09T09:07:14)"
    library.write_bytes(b"\x7fELF librknnrt version: %s")
    assert version_in_file(library) is None
    library.write_bytes(b"")
    assert version_in_file(library) is None
    assert version_in_file(tmp_path / "none.so") is None


def test_masks_of_cores() -> None:
    """Core n is bit n; a core that no NPU has is refused; SoCs have one, two or three."""
    assert [CoreMask.of_core(core) for core in range(3)] == [1, 2, 4]
    with pytest.raises(BackendError, match="NPU core 3 does not exist"):
        CoreMask.of_core(3)
    assert [core_count(soc) for soc in ("rk3588", "rk3588s", "rk3576", "rk3568", "rv1126")] == [3, 3, 2, 1, 1]


def test_the_vendors_reason_is_found_in_its_log() -> None:
    """Errors are kept once each, tracebacks and information are not."""
    log = VendorLog()
    log.text = (
        "I RKNN: [14:34:00.921] RKNN Runtime Information: librknnrt version: 1.4.0\n"
        "E RKNN: [14:34:00.922] Invalid RKNN model version 6\n"
        "E RKNN: [14:34:00.922] Invalid RKNN model version 6\n"
        "E Catch exception when init runtime!\nE Traceback (most recent call last):\n"
        "Exception: RKNN init failed. error code: RKNN_ERR_FAIL\n"
    )
    assert log.reason() == "Invalid RKNN model version 6; RKNN init failed. error code: RKNN_ERR_FAIL"
    assert VendorLog().reason() == ""


def test_nobody_elses_output_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    """While the vendor's text is caught, results pass through stdout, and other threads' stderr comes later."""
    with captured() as log:
        os.write(1, b"a result\n")
        os.write(2, b"E RKNN: [00:00:00.000] the reason\nwarning: of another thread\n")
        assert capfd.readouterr() == ("a result\n", "")
    assert log.reason() == "the reason"
    assert capfd.readouterr() == ("", "warning: of another thread\n")
