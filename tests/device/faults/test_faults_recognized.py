"""Fault lines in made logs: the lines are those that users reported, the boards are none of ours."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from rkdeploy.device.faults import kernel_log
from rkdeploy.device.faults.fault_search import explanation, faults_in
from rkdeploy.device.faults.kernel_log import KernelLogWatch, read_kernel_log
from rkdeploy.device.faults.known_faults import KNOWN_FAULTS

DOCS = Path(__file__).parents[3] / "docs" / "board-faults.md"
LINES = {
    "npu_interrupted": "RKNPU: failed to wait job, task counter: 74, flags: 0x1, ret = -512, elapsed time: 13624us",
    "npu_job_timeout": "RKNPU: failed to wait job, task counter: 0, flags: 0x5, ret = 0, elapsed time: 6226553us",
    "npu_reset": "RKNPU: soft reset, num: 6",
    "iommu_fault": "rk_iommu 27920f00.iommu: Page fault at 0x0000000002010040 of type read",
    "rga_above_4g": "rga_mm: RGA_MMU unsupported memory larger than 4G!",
    "rga_heap": "rga: RGA2 unsupported to get buffer from the allocation of this heap",
    "bounce_memory": "DMA: Out of SW-IOMMU space for 2457600 bytes",
    "rga_stride": "Unsupported function: rgb888 width stride should be 16 aligned!",
    "cma": "cma: cma_alloc: reserved: alloc failed, req-size: 16 pages, ret: -12",
    "out_of_memory": "Out of memory: Killed process 4711 (python) total-vm:9000000kB",
    "model_version": "E RKNN: [14:34:00.922] Invalid RKNN model version 6",
    "model_target": "E RKNN    : The rknn model does not match the RKNPU hardware version!",
    "model_damaged": "parseRKNN: invalid RKNN_MAGIC!",
    "layer_too_large": "E RKNN: [08:13:21.262] REGTASK: The bit width of field value exceeds the limit, target: v2",
    "driver_old": "E RKNN: Mismatch driver version, librknnrt version: 2.3.2 requires driver version >= 0.7.0",
    "driver_missing": "E RKNN: [08:21:53.967] failed to open rknpu module, need to insmod rknpu",
    "submit_failed": "E RKNN: [07:24:22.771] failed to submit!, op id: 1, op name: Conv:Conv_0, flags: 0x1",
    "descriptors": "E RKNN: failed to convert handle(1020) to fd, ret: -1, errno: 24, errstr: Too many open files",
    "npu_memory": "E RKNN: [09:40:45.140] failed to malloc npu memory, size: 3085697024, flags: 0x2",
}
HARMLESS = (
    "RKNPU fdab0000.npu: can't request region for resource [mem 0xfdab0000-0xfdabffff]",
    "RKNPU fdab0000.npu: failed to find power_model node",
    "RKNPU fdab0000.npu: RKNPU: failed to get dynamic-coefficient",
    "RKNPU: job: 0000000027ea22d2, mask: 0x1, wait_count: 1, commit elapse time: 6226455us, timeout: 6000000us",
    "I RKNN: [14:34:00.921] RKNN Runtime Information: librknnrt version: 1.4.0",
    "cma: Reserved 64 MiB at 0x00000000fc000000",
)


def test_every_fault_has_a_line() -> None:
    """Each entry of the table is tried below, and has a meaning, a fix and a source of its own."""
    assert [fault.name for fault in KNOWN_FAULTS] == list(LINES)
    for fault in KNOWN_FAULTS:
        assert fault.meaning.rstrip(".") == fault.meaning != ""
        assert fault.fix
        assert re.match(r"https://github\.com/[\w-]+/[\w-]+/issues/\d+$|Rockchip's kernel, |Linux, ", fault.source)


def test_the_table_of_the_documents() -> None:
    """docs/board-faults.md lists every fault with its meaning and source, and no other."""
    rows = re.findall(r"^\| `[^`]+` \| (\w+) \| (.*?) \| .* \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    assert [row[:2] for row in rows] == [(fault.name, fault.meaning) for fault in KNOWN_FAULTS]
    assert all(fault.source in row[2] for fault, row in zip(KNOWN_FAULTS, rows, strict=True))


@pytest.mark.parametrize("head", ["3,99,605375257,-;", "[  605.375257] ", "[  605.375257] rock kernel: "])
@pytest.mark.parametrize("name", LINES)
def test_a_line_is_recognized_in_every_log(name: str, head: str) -> None:
    """In the forms of /dev/kmsg, dmesg and journalctl: that fault alone, its time and its text."""
    (seen,) = faults_in([*HARMLESS, f"{head}{LINES[name]}", f"{head.replace('605', '606')}{LINES[name]}", *HARMLESS])
    assert (seen.fault.name, seen.count) == (name, 2)
    assert seen.seconds == pytest.approx(606.375257)
    assert seen.line.endswith(LINES[name])


def test_lines_without_a_time() -> None:
    """syslog's heads have no time since boot, and harmless lines of a normal start are not reported."""
    (seen,) = faults_in([f"Apr  1 02:17:27 firefly kernel: {LINES['npu_reset']}"])
    assert (seen.seconds, seen.count) == (None, 1)
    assert faults_in(HARMLESS) == ()
    (seen,) = faults_in(["open /dev/dma_heap/system-uncached-dma32 fail!"])
    assert seen.fault.name == "rga_heap"


def test_a_hostile_line_takes_no_time() -> None:
    """Lines made to be slow, and very long ones, are cut and read in linear time."""
    line = "RKNPU: failed to wait job " + "ret = -51" * 100_000 + " dma_heap/" * 1000
    began = time.process_time()
    assert [seen.fault.name for seen in faults_in([line] * 2000)] == ["npu_job_timeout"]
    assert time.process_time() - began < 2


def test_a_runtimes_output_is_explained() -> None:
    """Meaning and fix of what librknnrt printed, once for each fault, in one line."""
    said = explanation("E RKNN: 6, 1\nE RKNN: Invalid RKNN model version 6\nE RKNN: Invalid RKNN model version 6\n")
    assert said.startswith("The model was built by a newer toolkit than this librknnrt can read. Install the librknnrt")
    assert "\n" not in said
    assert explanation("I RKNN: all is well\n") == ""


def write_log(root: Path, *lines: str) -> Path:
    (root / "dev").mkdir(exist_ok=True)
    with (root / "dev/kmsg").open("a") as file:
        file.writelines(f"3,{number},{number}000000,-;{line}\n SUBSYSTEM=x\n" for number, line in enumerate(lines))
    return root


def test_the_log_of_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records without their properties; of a large file the end; a missing one with the reason."""
    assert read_kernel_log(tmp_path).why_not == "/dev/kmsg: No such file or directory"
    log = read_kernel_log(write_log(tmp_path, *HARMLESS, LINES["npu_reset"]))
    assert (len(log.lines), log.read_by, log.why_not) == (len(HARMLESS) + 1, "/dev/kmsg", "")
    monkeypatch.setattr(kernel_log, "_MAX_BYTES", 100)
    (seen,) = faults_in(read_kernel_log(tmp_path).lines)
    assert seen.fault.name == "npu_reset"


def test_the_watch_sees_new_lines_only(tmp_path: Path) -> None:
    """Lines that were there before are another run's; a log that may not be read is said."""
    write_log(tmp_path, LINES["npu_reset"])
    with KernelLogWatch(tmp_path) as watch:
        assert watch.read().lines == ()
        write_log(tmp_path, LINES["iommu_fault"])
        assert [seen.fault.name for seen in faults_in(watch.read().lines)] == ["iommu_fault"]
        assert watch.read().lines == ()
    with KernelLogWatch(tmp_path / "none") as watch:
        assert "No such file" in watch.read().why_not


@pytest.mark.parametrize(
    ("command", "lines", "why"),
    [
        (("sh", "-c", "echo '[    1.5] RKNPU: soft reset, num: 6'"), 1, ""),
        (
            ("sh", "-c", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1"),
            0,
            "not permitted",
        ),
        (("sh", "-c", "sleep 9"), 0, "TimeoutExpired"),
        (("a-command-that-is-not-there",), 0, "not installed"),
    ],
)
def test_commands_that_give_the_log(
    command: tuple[str, ...], lines: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their lines, or the reason why there are none: refused, too slow, not installed."""
    monkeypatch.setattr(kernel_log, "_COMMAND_S", 0.2)
    found = kernel_log._by_command(command)
    assert len(found.lines) == lines
    assert why in found.why_not
    assert bool(found.read_by) == bool(lines)
