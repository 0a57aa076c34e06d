"""A folder with the files of a made-up board, and a bundle that the stand-in runtime can run.

The names and forms of the files are those of RK3588 boards with a vendor kernel; the numbers are made up.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from rkdeploy.contract.bundle import BUILD, CONTRACT, Bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.record import BuildRecord, SourceRecord, ToolkitRecord, Verification
from rkdeploy.contract.spec import NpuModel
from tests.board.sample_model import SPEC, H, W, write_rknn

NPU = "sys/class/devfreq/fdab0000.npu"
CPU = "sys/devices/system/cpu/cpufreq/policy4"
_FILES = {
    "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
    "proc/device-tree/model": "Radxa ROCK 5B\0",
    "proc/sys/kernel/osrelease": "5.10.160-rockchip\n",
    "proc/uptime": "3600.50 20000.00\n",
    "proc/loadavg": "0.20 0.10 0.05 1/200 4321\n",
    "proc/self/statm": "50000 20000 3000 1 0 9000 0\n",
    "proc/stat": "cpu  100 0 100 10000 50 0 0 0 0 0\ncpu0 1 1 1 1 1 0 0 0 0 0\n",
    "proc/meminfo": "MemTotal:  8000000 kB\nMemAvailable:  7000000 kB\nCmaTotal:  65536 kB\nCmaFree:  60000 kB\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/kernel/debug/rknpu/load": "NPU load:  Core0: 87%, Core1:  5%, Core2:  0%,\n",
    "sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.8\n",
    f"{NPU}/governor": "rknpu_ondemand\n",
    f"{NPU}/cur_freq": "800000000\n",
    f"{NPU}/max_freq": "1000000000\n",
    f"{NPU}/available_frequencies": "300000000 800000000 1000000000\n",
    "sys/class/devfreq/dmc/governor": "performance\n",
    "sys/class/devfreq/dmc/cur_freq": "2112000000\n",
    "sys/class/devfreq/dmc/max_freq": "2112000000\n",
    f"{CPU}/affected_cpus": "4 5 6 7\n",
    f"{CPU}/scaling_governor": "performance\n",
    f"{CPU}/scaling_cur_freq": "2256000\n",
    f"{CPU}/scaling_max_freq": "2256000\n",
    f"{CPU}/cpuinfo_max_freq": "2256000\n",
    "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "44384\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "75000\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "critical\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "115000\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/class/thermal/cooling_device1/type": "thermal-devfreq-0\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "dev/kmsg": "6,812,9919983,-;RKNPU fdab0000.npu: RKNPU: rknpu iommu is enabled, using iommu mode\n"
    " SUBSYSTEM=platform\n DEVICE=+platform:fdab0000.npu\n"
    "3,813,9924989,-;RKNPU fdab0000.npu: can't request region for resource [mem 0xfdab0000-0xfdabffff]\n"
    "6,814,9926311,-;[drm] Initialized rknpu 0.9.8 20240828 for fdab0000.npu on minor 1\n"
    "3,815,9927377,-;RKNPU fdab0000.npu: failed to find power_model node\n",
    "dev/dri/renderD128": "",
    "dev/dri/renderD129": "",
    "dev/video11": "",
    "sys/class/video4linux/video11/name": "rkisp_mainpath\n",
}


def put(root: Path, name: str, text: str) -> None:
    """Write one file below a root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_board(root: Path, **changed: str | None) -> Path:
    """The files of a board that is in order but for its governor.  `changed`: file to text, None leaves it out."""
    for name, text in {**_FILES, **changed}.items():
        if text is not None:
            put(root, name, text)
    for card, driver in (("renderD128", "panfrost"), ("renderD129", "RKNPU")):
        link = root / "sys/class/drm" / card / "device/driver"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../../bus/platform/drivers/{driver}")
    return root


def write_library(root: Path, *, machine: int = 183, version: str | None = "2.5.0") -> Path:
    """A file that looks like a librknnrt.so when it is only read; 183 is aarch64, 62 x86-64."""
    path = root / "usr/lib/librknnrt.so"
    path.parent.mkdir(parents=True, exist_ok=True)
    banner = f"librknnrt version: {version} (c949ad889d@2024-11-07)\0".encode() if version else b""
    path.write_bytes(b"\x7fELF".ljust(18, b"\0") + struct.pack("<H", machine) + bytes(44) + banner)
    return path


def write_bundle(
    folder: Path, *, toolkit: str = "2.3.2", target: str = "rk3588", recorded: bool = True, source: str = "0" * 64
) -> Bundle:
    """A whole bundle of the tests' small model; its `.rknn` runs on the stand-in runtime only.

    Without `recorded` it has no build.json: what a board needs and no more.  `source` is the checkpoint's SHA-256.
    """
    assert SPEC.anchors is not None
    record = BuildRecord(
        rkdeploy_version="0",
        created="2026-01-01T00:00:00+00:00",
        source=SourceRecord(
            "best.pt", source, None, "yolov5", "v7.0", "checkpoint", SPEC.anchors, coco_anchors=False, parameters=1
        ),
        head=(),
        verification=Verification(1, ("a.jpg",), 10, ()),
        toolkit=ToolkitRecord(target, "int8", name="rknn-toolkit2", version=toolkit),
        calibration=None,
        agreement=None,
        host={},
        seconds={},
        warnings=(),
    )
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, replace(SPEC, model=NpuModel("best.rknn", target, "int8")))
        if recorded:
            write_json(partial / BUILD, record)
        write_rknn(partial / "best.rknn", toolkit=toolkit, target=target)
        _write_cut_graph(partial / "best-cut.onnx")
    return read_bundle(folder)


def _write_cut_graph(path: Path) -> None:
    """One convolution per level, with the contract's names and shapes."""
    import onnx

    h, float32, rng = onnx.helper, onnx.TensorProto.FLOAT, np.random.default_rng(0)
    nodes, outputs, weights = [], [], []
    for output in SPEC.outputs:
        name, stride = f"w{output.stride}", output.stride
        weights.append(
            onnx.numpy_helper.from_array(rng.normal(size=(output.shape[1], 3, stride, stride)).astype(np.float32), name)
        )
        nodes.append(
            h.make_node("Conv", ["images", name], [output.name], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        outputs.append(h.make_tensor_value_info(output.name, float32, output.shape))
    images = h.make_tensor_value_info("images", float32, (1, 3, H, W))
    graph = h.make_graph(nodes, "cut", [images], outputs, weights)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 12)], ir_version=8), str(path))
