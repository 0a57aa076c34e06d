"""The quantization of a quantized ONNX file, or a new one: which is built, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.given_calibration import given_grids, require_no_search
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import network_of
from rkdeploy.host.graph.cut_options import CutOptions
from tests.host.graph.kind_graphs import KindGraph


class Noise:
    """One image of noise."""

    def __init__(self) -> None:
        self._left = [{"images": np.random.default_rng(1).random((1, 3, 64, 64), np.float32)}]

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[type-arg]  # float32
        """The next image."""
        return self._left.pop() if self._left else None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A float detector, and with its convolutions quantized."""
    from onnxruntime import quantization  # imports torch

    folder = tmp_path_factory.mktemp("given")
    graph = KindGraph((64, 64))
    graph.show(*(graph.rows(graph.conv(stride, 9), 9) for stride in (8, 16, 32)))
    onnx.save(graph.model(), str(folder / "float.onnx"))
    quantization.quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Noise(), op_types_to_quantize=["Conv"], per_channel=True
    )
    return folder / "float.onnx", folder / "int8.onnx"


def opened(file: Path) -> tuple[BuildOptions, Network]:
    """The file with enough said to read it."""
    names = file.with_name("names.txt")
    names.write_text("a\nb\nc\nd\n")
    options = BuildOptions(file, anchors=tuple(float(n) for n in range(1, 7)), input=InputChoice(names=names))
    return options, network_of(options)


def test_the_files_own_grids_are_taken(files: tuple[Path, Path]) -> None:
    """Of the head's tensors, by the contract's names, where no sigmoid comes behind them."""
    options, network = opened(files[1])
    assert network.is_quantized
    given = given_grids(network, options)
    assert given == dict(network.given_grids)
    raw = given_grids(network, BuildOptions(files[1], cut=CutOptions(sigmoid="none")))
    assert raw is not None
    taps = {tap.tensor: tap for tap in network.head.taps}
    assert {raw[f"stride{tap.stride}_map"] for tap in taps.values()} == {network.given_grids[name] for name in taps}


@pytest.mark.parametrize("changes", [{"calibration": "new"}, {"dtype": "fp16"}])
def test_all_is_calibrated(files: tuple[Path, Path], changes: dict[str, str]) -> None:
    """If that is asked for, and for other types."""
    network = opened(files[1])[1]
    assert given_grids(network, BuildOptions(files[1], **changes)) is None  # type: ignore[arg-type]  # two of texts


def test_a_float_file_brings_nothing(files: tuple[Path, Path]) -> None:
    """Neither grids nor a limit for the search of ranges."""
    options, network = opened(files[0])
    assert given_grids(network, options) is None
    require_no_search(network, BuildOptions(files[0], algorithm="sensitivity"))


def test_ranges_that_are_given_are_not_searched(files: tuple[Path, Path]) -> None:
    """The two options exclude each other, and the message says how to have the search."""
    network = opened(files[1])[1]
    with pytest.raises(RkdeployError, match=r"--algorithm mmse searches ranges.*brings its own") as caught:
        require_no_search(network, BuildOptions(files[1], algorithm="mmse"))
    assert "--calibration new" in caught.value.hint
    require_no_search(network, BuildOptions(files[1], algorithm="mmse", calibration="new"))
