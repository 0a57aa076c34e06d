"""The hash of what a build was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rkdeploy.datasets.calibration import CalibrationImage
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.chosen_images import BuildImages
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.request import request_of
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.float16 import Float16Choice

IMAGE = CalibrationImage("a.jpg", "0" * 64, 10, 10, Path("a.jpg"))


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    for name in ("best.pt", "other.pt", "net.cfg", "names.txt"):
        (tmp_path / name).write_bytes(name.encode())
    return BuildOptions(tmp_path / "best.pt", cfg=tmp_path / "net.cfg", imgsz=(64, 96))


def test_the_same_is_the_same(options: BuildOptions) -> None:
    """Twice the same hash; folder, interpreter, and accuracy limits are not part of it."""
    first = request_of(options, BuildImages(), None)
    assert first == request_of(options, BuildImages(), None)
    elsewhere = replace(options, out=Path("x"), toolkit_python=Path("/bin/sh"), min_agreement=0.1, calib=Path("y"))
    assert first == request_of(elsewhere, BuildImages(), None)
    assert len(first) == 64


def test_every_choice_counts(options: BuildOptions) -> None:
    """Each option, each file's content and each image gives another hash."""
    folder = options.model.parent
    others = [
        replace(options, target="rk3576"),
        replace(options, dtype="fp16"),
        replace(options, imgsz=(96, 64)),
        replace(options, stem="stripes"),
        replace(options, cut=CutOptions("boxes_scores", "all")),
        replace(options, nms=False),
        replace(options, seed=1),
        replace(options, float16=Float16Choice(worst=2)),
        replace(options, input=InputChoice(names=folder / "names.txt")),
        replace(options, input=InputChoice(crop_fraction=0.5)),
        replace(options, weights=folder / "other.pt"),
        replace(options, cfg=None),
        replace(options, model=folder / "other.pt"),
    ]
    found = [request_of(one, BuildImages(), None) for one in (options, *others)]
    found.append(request_of(options, BuildImages(proof=(IMAGE,)), None))
    found.append(request_of(options, BuildImages(proof=(replace(IMAGE, sha256="1" * 64),)), None))
    (folder / "net.cfg").write_text("changed")
    found.append(request_of(options, BuildImages(), None))
    (folder / "best.pt").write_text("changed")
    found.append(request_of(options, BuildImages(), None))
    assert len(set(found)) == len(found)


def test_weights_beside_an_onnx_file_count(tmp_path: Path) -> None:
    """An ONNX file may keep its weights in another one: that one's content counts."""
    weight = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "w")
    value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1000,))
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [weight])
    file = tmp_path / "best.onnx"
    onnx.save(helper.make_model(graph), str(file), save_as_external_data=True, location="best.bin", size_threshold=0)
    before, content = request_of(BuildOptions(file), BuildImages(), None), file.read_bytes()
    data = bytearray((tmp_path / "best.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "best.bin").write_bytes(data)
    assert file.read_bytes() == content
    assert request_of(BuildOptions(file), BuildImages(), None) != before
