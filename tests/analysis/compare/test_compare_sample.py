"""The sample compared with the real toolkit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.datasets.calibration import find_calibration, load_letterboxed
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions
from rkdeploy.images.fit import image_fit
from tests.command_line import rkdeploy

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "calib_data"
SMALL = ROOT / "tests" / "data" / "yolov5" / "v5_last.pt"
SMALL_POSE = ROOT / "tests" / "data" / "ultralytics" / "v8_pose_2x3.pt"

pytestmark = pytest.mark.slow


def compare(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return rkdeploy("compare", *arguments, cwd=cwd)


def test_the_sample(tmp_path: Path) -> None:
    """Three chips and two types, one of which the toolkit refuses for a chip: rows, bundles and accuracy; then kept."""
    args = (
        SAMPLE / "best.pt", "--target", "rk3588,rk3576,rk2118", "--dtype", "int8,fp16", "--imgsz", "192x160",
        "--calib", SAMPLE, "--calib-count", "8", "--proof-count", "4",
        "--data", SAMPLE / "data.yaml", "--data-count", "8", "-o",
    )  # fmt: skip
    first = compare(*args, "first.json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "\x1b" not in first.stdout + first.stderr
    rows = json.loads((tmp_path / "first.json").read_text())["rows"]
    assert [row["state"] for row in rows] == ["built"] * 4 + ["failed", "built"]
    assert "unsupported conv" in rows[4]["reason"]
    assert 'no latency model of "rk2118"' in rows[5]["figures"]["not_predicted"]
    for row in (*rows[:4], rows[5]):
        bundle = read_bundle(tmp_path / "build/compare" / Path(row["folder"]).name)
        assert (bundle.spec.input.height, bundle.spec.input.width) == (160, 192)
        assert bundle.model.target == row["variant"]["target"]
        assert row["figures"]["rknn_bytes"] == bundle.rknn.stat().st_size
        assert row["figures"]["agreement_share"] > 0.9
        speed = row["figures"]["speed"]
        assert (speed is not None) == (row["variant"]["target"] != "rk2118")
        assert speed is None or (speed["coverage"] is None) == (row["variant"]["dtype"] == "fp16")
    int8, int8_again = rows[0]["figures"]["accuracy"], rows[2]["figures"]["accuracy"]
    assert int8["figures"] == int8_again["figures"]
    assert int8_again["on"]["target"] == "rk3588"
    assert 0 < int8["figures"][0]["built"] <= 1
    second = compare(*args, "second.json", cwd=tmp_path)
    again = json.loads((tmp_path / "second.json").read_text())["rows"]
    assert [row["state"] for row in again] == ["kept"] * 4 + ["failed", "kept"]
    assert [row["figures"] for row in again] == [row["figures"] for row in rows]
    assert second.stdout == first.stdout.replace("built", "kept")


def test_processes_build_the_same(tmp_path: Path) -> None:
    """Two processes give the rows that one gives, in the same order, and a size that fails is a row there too."""
    args = (
        SMALL_POSE, "--target", "rk3588,rk3576", "--imgsz", "64,100", "--calib", SAMPLE,
        "--calib-count", "4", "--proof-count", "2",
        "--json", "--out",
    )  # fmt: skip
    several = compare(*args, "several", "--workers", "2", cwd=tmp_path)
    one = compare(*args, "one", cwd=tmp_path)
    assert several.returncode == one.returncode == 0, several.stderr + one.stderr
    assert sorted(several.stderr.splitlines()) == sorted(one.stderr.splitlines())
    assert several.stdout.replace("several/", "one/") == one.stdout
    assert {p.name for p in (tmp_path / "several").iterdir()} == {p.name for p in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_leaves_whole_bundles_only(workers: int, tmp_path: Path) -> None:
    """Ctrl-C while others are built: what is there is whole, and of the others nothing is left."""
    command = [
        sys.executable, "-m", "rkdeploy", "compare", str(SMALL_POSE), "--target", "rk3588,rk3576,rk3566,rk3562",
        "--imgsz", "64", "--calib", str(SAMPLE), "--calib-count", "4", "--proof-count", "2", "--workers", str(workers),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while "built" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in said + rest
    left = [p.name for p in (tmp_path / "build/compare").iterdir()]
    assert 1 <= len(left) <= workers + 1
    for name in left:
        assert name.startswith("v8_pose_2x3-rk35")
        read_bundle(tmp_path / "build/compare" / name)


@pytest.mark.parametrize("model", [SMALL, SMALL_POSE], ids=["yolov5", "yolov8-pose"])
def test_the_simulator_is_one_for_all_chips(model: Path, tmp_path: Path) -> None:
    """rknn-toolkit2 gives the same bits and scales for every chip that can be predicted, INT8 and FP16.

    So accuracy is simulated once for them all.
    """
    network = open_network(model, None, (64, 96))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    onnx.save(graph, str(tmp_path / "model.onnx"))
    spec = network.contract(outputs)
    fit = image_fit(spec.input)
    calibration = find_calibration(SAMPLE, tmp_path, 5, 0)
    images = [np.array(fit(image.read()).image) for image in calibration.held_out(2).images]
    for dtype in ("int8", "fp16"):
        found = []
        with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
            for target in ("rk3588", "rk3576", "rk3566", "rk3568", "rk3562"):
                options = ToolkitOptions(target=target, dtype=dtype, mean=spec.input.mean, std=spec.input.std)
                shown = load_letterboxed(calibration, fit, "nchw") if options.quantized else ()
                built = toolkit.build(tmp_path / "model.onnx", options, shown, tmp_path / "model.rknn")
                found.append((built.outputs, [toolkit.simulate(image) for image in images]))
        scales, simulated = found[0]
        assert any(np.ptp(values) > 0 for values in simulated[0].values())
        for other_scales, others in found[1:]:
            assert other_scales == scales
            for a, b in zip(simulated, others, strict=True):
                assert all(np.array_equal(a[name], b[name]) for name in a)
