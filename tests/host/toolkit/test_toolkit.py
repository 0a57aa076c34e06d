"""The door to the vendor's toolkit: fast tests against a stand-in toolkit, slow ones against the real one."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.spec import Quantization
from rkdeploy.errors import BackendError, CalibrationError, ToolkitError
from rkdeploy.host.toolkit.built_model import BuiltModel, KeptFiles
from rkdeploy.host.toolkit.integers import integers_from_real
from rkdeploy.host.toolkit.simulator import SimulatorRuntime
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Built = tuple[Toolkit, BuiltModel, Path]

HEIGHT, WIDTH = 32, 64
INT8 = ToolkitOptions("rk3588", "int8", mean=(10.0, 20.0, 30.0), std=(200.0, 100.0, 255.0))
FP16 = ToolkitOptions("rk3588", "fp16", mean=(10.0, 20.0, 30.0), std=(200.0, 100.0, 255.0))

STAND_IN = """
import ctypes, os, subprocess, sys, time

class RKNN:
    def __init__(self, verbose=False):
        print("stand-in on stdout")
        print("stand-in on stderr", file=sys.stderr)
        ctypes.CDLL(None).puts(b"stand-in from C")

    def config(self, **options):
        return 0

    def load_onnx(self, model):
        how = os.environ["STAND_IN"]
        if how == "returns -1":
            print("\\x1b[1;31mE\\x1b[0m \\x1b[1;31mload_onnx: The moon is full!\\x1b[0m", file=sys.stderr)
            print("E rknn-toolkit2 version: 0", file=sys.stderr)
            return -1
        if how == "raises":
            raise ValueError("Traceback (most recent call last):\\n  File 'x', line 1\\nIndexError: list index\\n")
        if how == "exits":
            print("E load_onnx: Enough!", file=sys.stderr)
            sys.exit(3)
        if how == "is killed":
            os.kill(os.getpid(), 9)
        if how == "crashes":
            print("E RKNN: [10:35:00.311] buffer overflow!!!", file=sys.stderr)
            os.abort()
        if how == "hangs":
            child = subprocess.Popen(["sleep", "600"])
            with open(os.environ["GRANDCHILD"], "w") as file:
                file.write(str(child.pid))
            time.sleep(600)
"""


def tiny_onnx(path: Path) -> Path:
    """Two outputs of one shape, in an order that is not that of their names, and one of another."""
    random = np.random.default_rng(7)
    nodes, weights = [], []

    def conv(name: str, source: str, channels_in: int, channels_out: int, kernel: int, stride: int) -> str:
        weight = random.standard_normal((channels_out, channels_in, kernel, kernel)) / np.sqrt(channels_in * kernel**2)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.weight"))
        weights.append(numpy_helper.from_array(random.standard_normal(channels_out).astype(np.float32), f"{name}.bias"))
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.weight", f"{name}.bias"],
                [name],
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[kernel // 2] * 4,
            )
        )
        return name

    body = conv("body", "images", 3, 16, 3, 4)
    nodes.append(helper.make_node("Relu", [body], ["features"]))
    conv("zz", "features", 16, 6, 1, 1)
    conv("aa_linear", "features", 16, 6, 1, 1)
    nodes.append(helper.make_node("Sigmoid", ["aa_linear"], ["aa"]))
    conv("coarse", "features", 16, 5, 3, 2)
    shapes = {"zz": (6, 8, 16), "aa": (6, 8, 16), "coarse": (5, 4, 8)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name, shape in shapes.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def attention_onnx(path: Path, *, scaled: bool) -> Path:
    """One attention head; `scaled` has a Mul between MatMul and Softmax."""
    random = np.random.default_rng(1)
    weights = {"stem": (16, 3, 3, 3), "qkv": (64, 16, 1, 1), "head": (8, 32, 1, 1)}
    initializers = [
        numpy_helper.from_array((0.2 * random.standard_normal(shape)).astype(np.float32), f"{name}.weight")
        for name, shape in weights.items()
    ]
    initializers += [
        numpy_helper.from_array(np.array([1, 1, 64, 128]), "rows"),
        numpy_helper.from_array(np.array([16, 16, 32]), "parts"),
        numpy_helper.from_array(np.array([1, 32, 8, 16]), "map"),
        numpy_helper.from_array(np.array(0.25, np.float32), "scale"),
    ]
    make = helper.make_node
    nodes = [
        make("Conv", ["images", "stem.weight"], ["stem"], kernel_shape=[3, 3], strides=[4, 4], pads=[1, 1, 1, 1]),
        make("Conv", ["stem", "qkv.weight"], ["qkv"], kernel_shape=[1, 1]),
        make("Reshape", ["qkv", "rows"], ["qkv_rows"]),
        make("Split", ["qkv_rows", "parts"], ["q", "k", "v"], axis=2),
        make("Transpose", ["q"], ["qt"], perm=[0, 1, 3, 2]),
        make("MatMul", ["qt", "k"], ["qk"]),
        *([make("Mul", ["qk", "scale"], ["qk_scaled"])] if scaled else []),
        make("Softmax", ["qk_scaled" if scaled else "qk"], ["attention"], axis=-1),
        make("Transpose", ["attention"], ["attention_t"], perm=[0, 1, 3, 2]),
        make("MatMul", ["v", "attention_t"], ["mixed"]),
        make("Reshape", ["mixed", "map"], ["mixed_map"]),
        make("Conv", ["mixed_map", "head.weight"], ["out"], kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, 8, 16])],
        initializers if scaled else [tensor for tensor in initializers if tensor.name != "scale"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def images(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


def onnx_outputs(path: Path, image: NDArray[np.uint8], options: ToolkitOptions) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scaled = (image.astype(np.float32) - np.array(options.mean, np.float32)) / np.array(options.std, np.float32)
    outputs = session.run(None, {"images": scaled.transpose(0, 3, 1, 2)})
    return dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("a graph") / "tiny model.onnx")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A toolkit that fails as the environment variable STAND_IN says."""
    package = tmp_path / "stand_in" / "rknn"
    (package / "api").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "api" / "__init__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("GRANDCHILD", str(tmp_path / "grandchild"))
    return monkeypatch


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def gone(*pids: int, within_s: float = 30.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


# --------------------------------------------------------------------------------------- without the real toolkit


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("returns -1", "The toolkit's load_onnx failed: The moon is full!"),
        ("raises", "The toolkit failed: IndexError: list index"),
        ("exits", "The toolkit ended itself (exit status 3): Enough!"),
        ("is killed", "was killed (SIGKILL), most often because memory ran out"),
        ("crashes", "crashed (SIGABRT). Its last error: buffer overflow!!!"),
    ],
)
def test_every_way_to_fail_is_one_error_with_the_cause(
    how: str, cause: str, tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """Whatever the toolkit does when it fails, the user reads its cause and the log's path, and no .rknn appears."""
    stand_in.setenv("STAND_IN", how)
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit, pytest.raises(ToolkitError) as caught:
        toolkit.build(tiny, FP16, [], tmp_path / "model.rknn")
    assert cause in caught.value.message
    assert str(tmp_path / "toolkit.log") in caught.value.hint
    assert not list(tmp_path.glob("*.rknn*"))


def test_a_failed_build_leaves_the_toolkit_usable_but_a_dead_one_says_so(
    tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """After a -1 the same child goes on; after its death every call says that it has ended."""
    stand_in.setenv("STAND_IN", "returns -1")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        for _ in range(2):
            with pytest.raises(ToolkitError, match="The moon is full"):
                toolkit.build(tiny, FP16, [], tmp_path / "model.rknn")
        os.kill(toolkit._process.pid, signal.SIGKILL)
        with pytest.raises(ToolkitError, match="was killed"):
            toolkit.build(tiny, FP16, [], tmp_path / "model.rknn")
        with pytest.raises(ToolkitError, match="process has ended: it was killed"):
            _ = toolkit.targets


def test_nothing_the_toolkit_prints_reaches_our_output(
    tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python's and C's stdout and stderr of the child are in the log and nowhere else."""
    stand_in.setenv("STAND_IN", "returns -1")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit, pytest.raises(ToolkitError):
        toolkit.build(tiny, FP16, [], tmp_path / "model.rknn")
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "toolkit.log").read_text()
    for source in ("on stdout", "on stderr", "from C"):
        assert f"stand-in {source}\n" in log


def test_a_hanging_toolkit_is_ended_with_what_it_started(
    tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """A call past its time becomes an error; neither the child nor a process it started outlives it."""
    stand_in.setenv("STAND_IN", "hangs")
    with Toolkit(log=tmp_path / "toolkit.log", timeout_s=3.0) as toolkit:
        pid, work_dir = toolkit._process.pid, toolkit._process.work_dir
        with pytest.raises(ToolkitError, match="did not answer within 3 s"):
            toolkit.build(tiny, FP16, [], tmp_path / "model.rknn")
        assert gone(pid, int((tmp_path / "grandchild").read_text()))
        assert not work_dir.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_child_outlives_its_parent(
    number: signal.Signals, tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """When this process is killed in the middle of a build, the child, its own processes and its files are removed
    too.
    """
    stand_in.setenv("STAND_IN", "hangs")
    script = f"""
        from pathlib import Path
        from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions
        from rkdeploy.host.toolkit.toolkit import Toolkit
        with Toolkit(log=Path({str(tmp_path / "toolkit.log")!r})) as toolkit:
            print(toolkit._process.pid, toolkit._process.work_dir, flush=True)
            toolkit.build(Path({str(tiny)!r}), ToolkitOptions("rk3588", "fp16"), [], Path({str(tmp_path / "m.rknn")!r}))
        """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    pid, work_dir = parent.stdout.readline().split()
    grandchild = tmp_path / "grandchild"
    end = time.monotonic() + 20
    while not (grandchild.exists() and grandchild.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert is_running(int(pid))
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert gone(int(pid), int(grandchild.read_text()))
    assert not Path(work_dir).exists()
    assert not list(tmp_path.glob("*.rknn*"))


def test_a_missing_interpreter_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong RKDEPLOY_TOOLKIT_PYTHON is an error that names the path and the variable."""
    monkeypatch.setenv("RKDEPLOY_TOOLKIT_PYTHON", "/nowhere/bin/python")
    with (
        pytest.raises(ToolkitError, match=r'"/nowhere/bin/python", cannot be run.*RKDEPLOY_TOOLKIT_PYTHON'),
        Toolkit(log=tmp_path / "toolkit.log"),
    ):
        pass


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ModuleNotFoundError(\"No module named 'rknn'\")", "is not installed there"),
        ("ModuleNotFoundError(\"No module named 'pkg_resources'\")", "setuptools < 80"),
        ("AttributeError(\"module 'onnx' has no attribute 'mapping'\")", "onnx >= 1.16.1, <= 1.18.0"),
        ("ImportError('A module that was compiled using NumPy 1.x cannot be run')", "numpy <= 1.26.4"),
        ("ModuleNotFoundError(\"No module named 'torch'\")", "needs torch"),
        ("ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("SystemExit(1)", "cannot be imported"),
    ],
)
def test_a_broken_installation_says_what_to_install(
    raised: str, said: str, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """An import that fails names the pin that fixes it, and the command that installs all pins."""
    (tmp_path / "stand_in" / "rknn" / "api" / "__init__.py").write_text(f"raise {raised}\n")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit, pytest.raises(ToolkitError) as caught:
        _ = toolkit.version
    assert said in caught.value.message
    assert 'pip install -c constraints.txt "rkdeploy[host]"' in caught.value.hint


def test_options_that_the_toolkit_would_bend_are_refused() -> None:
    """The toolkit takes level 3 for any other number, and fails late on a long string: we refuse both at once."""
    with pytest.raises(ToolkitError, match="optimization_level is 7"):
        ToolkitOptions("rk3588", "int8", optimization_level=7)
    with pytest.raises(ToolkitError, match="1024 characters"):
        ToolkitOptions("rk3588", "int8", custom_string="x" * 1024)
    with pytest.raises(ToolkitError, match="every std above 0"):
        ToolkitOptions("rk3588", "int8", std=(255.0, 0.0, 255.0))


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ([], "no calibration images"),
        ([np.zeros((3, 32, 3), np.uint8)], r"expected uint8 \(H, W, 3\) or \(3, H, W\)"),
        ([np.zeros((32, 64, 3), np.float32)], "is float32"),
        ([Path("photo.jpg")], '"photo.jpg" is not an existing .npy file'),
    ],
)
def test_unusable_calibration_is_refused(
    calibration: list[NDArray[np.uint8] | Path], said: str, tiny: Path, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    """No images, an ambiguous layout, a wrong dtype or a picture file: an int8 build does not start."""
    stand_in.setenv("STAND_IN", "returns -1")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit, pytest.raises(CalibrationError, match=said):
        toolkit.build(tiny, INT8, calibration, tmp_path / "model.rknn")


def test_integers_come_back_exactly_and_off_grid_values_are_refused() -> None:
    """Every int8 value survives the way through float32; half a step off, or beyond int8, is an error."""
    quantization = Quantization("int8", 0.010962237563787723, -15)
    integers = np.arange(-128, 128, dtype=np.int8)
    real = (integers.astype(np.float32) + 15) * np.float32(quantization.scale)
    recovered = integers_from_real(real, quantization)
    assert recovered.dtype == np.int8
    assert np.array_equal(recovered, integers)
    assert integers_from_real(real[:0], quantization).shape == (0,)
    with pytest.raises(ToolkitError, match="off the grid"):
        integers_from_real(real + np.float32(quantization.scale / 2), quantization)
    with pytest.raises(ToolkitError, match="off the grid"):
        integers_from_real(real + np.float32(quantization.scale), quantization)


@pytest.mark.parametrize("scale", [0.010962237563787723, 3.0517578125e-05, 1 / 3, 7.77e-4])
@pytest.mark.parametrize("zero_point", [-32768, -15, 0, 32767])
def test_every_int16_value_comes_back_exactly(scale: float, zero_point: int) -> None:
    """65,535 steps from zero float32 rounds by more than a thousandth: that is allowed for, a real offset is not."""
    quantization = Quantization("int16", scale, zero_point)
    integers = np.arange(-32768, 32768).astype(np.int16)
    real = (integers.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    recovered = integers_from_real(real, quantization)
    assert recovered.dtype == np.int16
    assert np.array_equal(recovered, integers)
    with pytest.raises(ToolkitError, match="off the grid"):
        integers_from_real(real + np.float32(0.1 * scale), quantization)
    with pytest.raises(ToolkitError, match="off the grid"):
        integers_from_real(real - np.float32(2 * scale), quantization)
    with pytest.raises(ToolkitError, match="off the grid"):
        integers_from_real(np.array([np.nan], np.float32), quantization)


# ------------------------------------------------------------------------------------------- the real toolkit


@pytest.fixture(scope="module")
def built(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """One int8 build of the tiny graph, still open, with its folder."""
    folder = tmp_path_factory.mktemp("built here")
    stages: list[str] = []
    with Toolkit(log=folder / "toolkit.log", on_progress=stages.append) as toolkit:
        model = toolkit.build(tiny, INT8, images(8), folder / "model.rknn", keep=folder / "kept")
        yield toolkit, model, folder


@pytest.mark.slow
def test_int8_outputs_lie_exactly_on_the_stated_grid(built: Built, tiny: Path) -> None:
    """Simulated outputs are (integer - zero_point) * scale to the last bit, by name, in ONNX order, near the float
    model's.
    """
    toolkit, model, _ = built
    assert [output.name for output in model.outputs] == ["zz", "aa", "coarse"]
    assert [output.shape for output in model.outputs] == [(1, 6, 8, 16), (1, 6, 8, 16), (1, 5, 4, 8)]
    assert_on_the_stated_grid(toolkit, model, tiny)


@pytest.mark.slow
def test_what_mmse_finds_is_kept(tiny: Path, built: Built, tmp_path: Path) -> None:
    """The toolkit searches in step 2, on the images; the kept files give what it found again, without them."""
    mmse, image = replace(INT8, algorithm="mmse"), images(1, seed=3)[0][None]
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        model = toolkit.build(tiny, mmse, images(8), tmp_path / "tiny.rknn", tmp_path / "kept")
        assert_on_the_stated_grid(toolkit, model, tiny)
        simulated, ranges = toolkit.simulate(image), toolkit.ranges()
        changed = toolkit.change_float16(["coarse"], tmp_path / "float16.rknn")
    normal, normal_model, _ = built
    assert normal.ranges() != ranges
    assert {o.name: o.quantization for o in normal_model.outputs} != {o.name: o.quantization for o in model.outputs}
    assert {o.name: o.quantization for o in model.outputs} | {"coarse": None} == {
        o.name: o.quantization for o in changed.outputs
    }
    assert model.kept is not None
    with Toolkit(log=tmp_path / "again.log") as toolkit:
        assert toolkit.open_kept(model.kept, mmse).outputs == model.outputs
        again = toolkit.simulate(image)
        assert toolkit.ranges() == ranges
    assert all(np.array_equal(again[name], simulated[name]) for name in simulated)


def assert_on_the_stated_grid(toolkit: Toolkit, model: BuiltModel, tiny: Path) -> None:
    image = images(1, seed=3)[0][None]
    simulated, expected = toolkit.simulate(image), onnx_outputs(tiny, image, INT8)
    assert list(simulated) == [output.name for output in model.outputs]
    for output in model.outputs:
        quantization = output.quantization
        assert quantization is not None
        integers = integers_from_real(simulated[output.name], quantization)
        real = (integers.astype(np.float32) - quantization.zero_point) * np.float32(quantization.scale)
        assert np.array_equal(real, simulated[output.name])
        assert len(np.unique(integers)) > 20
        assert np.abs(simulated[output.name] - expected[output.name]).max() < 12 * quantization.scale


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["normal", "mmse", "kl_divergence"])
def test_the_two_steps_give_what_a_plain_build_gives(algorithm: str, tiny: Path, tmp_path: Path) -> None:
    """The door's way to build int8 changes nothing: the toolkit's own build() simulates bit for bit the same."""
    options = replace(INT8, algorithm=algorithm)
    image = images(1, seed=3)[0][None]
    files = []
    for index, calibration in enumerate(images(8)):
        files.append(tmp_path / f"{index}.npy")
        np.save(files[-1], calibration.transpose(2, 0, 1)[None])
    (tmp_path / "dataset.txt").write_text("".join(f"{file}\n" for file in files))
    np.save(tmp_path / "image.npy", image)
    shutil.copy(tiny, tmp_path / "tiny.onnx")
    script = f"""
        import numpy as np
        from rknn.api import RKNN
        rknn = RKNN()
        rknn.config(**{options.toolkit_config()!r})
        rknn.load_onnx("tiny.onnx")
        rknn.build(do_quantization=True, dataset="dataset.txt")
        rknn.init_runtime()
        np.savez("plain.npz", *rknn.inference(inputs=[np.load("image.npy")], data_format=["nhwc"]))
        """
    subprocess.run(
        [os.environ.get("RKDEPLOY_TOOLKIT_PYTHON", sys.executable), "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    plain = np.load(tmp_path / "plain.npz")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        toolkit.build(tiny, options, images(8), tmp_path / "tiny.rknn")
        for name, array in zip(plain.files, toolkit.simulate(image).values(), strict=True):
            assert np.array_equal(plain[name], array)


@pytest.mark.slow
def test_kept_files_open_the_simulator_without_calibration_images(built: Built, tmp_path: Path) -> None:
    """The runtime that opens the kept files gives the integers of the build, and says where its figures come from."""
    toolkit, model, folder = built
    assert model.kept is not None
    image = images(1, seed=4)[0][None]
    assert sorted(path.name for path in (folder / "kept").iterdir()) == [
        "model.data",
        "model.model",
        "model.quantization.cfg",
    ]
    runtime = SimulatorRuntime(model.kept, INT8, log=tmp_path / "simulator.log")
    with runtime, pytest.raises(BackendError, match=r"expected uint8 \(1, 32, 64, 3\)"):
        runtime.infer(image[:, :16])
    with SimulatorRuntime(model.kept, INT8, log=tmp_path / "simulator.log") as runtime:
        assert runtime.figures_from == f"simulator (rknn-toolkit2 {toolkit.version})"
        tensors = runtime.infer(image)
    for tensor, output, real in zip(tensors, model.outputs, toolkit.simulate(image).values(), strict=True):
        assert output.quantization is not None
        assert tensor.values.dtype == np.int8
        assert (tensor.scale, tensor.zero_point) == (
            output.quantization.scale,
            output.quantization.zero_point,
        )
        assert np.array_equal(tensor.dequantized(), real)


@pytest.mark.slow
def test_kept_files_are_judged_before_the_toolkit_opens_them(built: Built, tmp_path: Path) -> None:
    """Kept files with code in them, damaged ones, or ones made for another chip are refused, and no code runs."""
    _, model, _ = built
    assert model.kept is not None
    assert model.kept.data is not None

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "it ran",))

    (tmp_path / "evil.data").write_bytes(pickle.dumps({"args": Evil()}))
    (tmp_path / "short.data").write_bytes(model.kept.data.read_bytes()[:100])
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        with pytest.raises(ToolkitError, match=r'".*evil.data" is not safe to open: it names the global'):
            toolkit.open_kept(KeptFiles(model.kept.model, tmp_path / "evil.data", model.kept.config), INT8)
        with pytest.raises(ToolkitError, match=r'".*short.data" is damaged'):
            toolkit.open_kept(KeptFiles(model.kept.model, tmp_path / "short.data", model.kept.config), INT8)
        (tmp_path / "evil.cfg").write_text(f"quantize_parameters: !!python/object/apply:os.mkdir ['{tmp_path}/it ran']")
        with pytest.raises(ToolkitError, match=r'".*evil.cfg" is not a quantization table'):
            toolkit.open_kept(KeptFiles(model.kept.model, model.kept.data, tmp_path / "evil.cfg"), INT8)
        other = ToolkitOptions("rk3576", "int8", mean=INT8.mean, std=INT8.std)
        with pytest.raises(ToolkitError, match="made with target_platform 'rk3588', expected 'rk3576'"):
            toolkit.open_kept(model.kept, other)
        with pytest.raises(ToolkitError, match="No model is open"):
            toolkit.simulate(images(1)[0][None])
    assert not (tmp_path / "it ran").exists()


@pytest.mark.slow
def test_fp16_equals_the_graph_on_scaled_pixels(tiny: Path, tmp_path: Path) -> None:
    """An fp16 build fed uint8 gives what onnxruntime gives for (pixel - mean) / std, within half precision."""
    image = images(1, seed=5)[0][None]
    before = tiny.read_bytes()
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        for _ in range(2):  # a second build in one child must not meet the files of the first
            model = toolkit.build(tiny, FP16, [], tmp_path / "model.rknn", keep=tmp_path)
            simulated = toolkit.simulate(image)
    assert tiny.read_bytes() == before
    assert model.rknn is not None
    assert model.kept is not None
    assert model.rknn.read_bytes()[:4] == b"RKNN"
    for name, array in onnx_outputs(tiny, image, FP16).items():
        assert np.abs(simulated[name] - array).max() < 4e-3
    with SimulatorRuntime(model.kept, FP16, log=tmp_path / "simulator.log") as runtime:
        tensors = runtime.infer(image)
    assert [tensor.values.dtype for tensor in tensors] == [np.float32] * 3
    assert all(np.array_equal(t.values, s) for t, s in zip(tensors, simulated.values(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("options", [FP16, INT8], ids=["fp16", "int8"])
def test_attention_builds_and_a_failing_rule_is_left_out(scaled: bool, options: ToolkitOptions, tmp_path: Path) -> None:
    """Attention that breaks a rule of toolkit 2.5.0 builds without that rule, says so, and stays right."""
    graph = attention_onnx(tmp_path / "attention.onnx", scaled=scaled)
    image = images(1, seed=5)[0][None]
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        model = toolkit.build(graph, options, images(4), tmp_path / "model.rknn", keep=tmp_path / "kept")
        simulated = toolkit.simulate(image)["out"]
        rule = "fuse_exmatmul_add_mul_exsoftmax13_exmatmul_to_sdpa"
        assert model.disabled_rules == ((rule,) if toolkit.version == "2.5.0" and not scaled else ())
        assert model.kept is not None
        if options.quantized:
            toolkit.open_kept(model.kept, options)
        assert np.array_equal(toolkit.simulate(image)["out"], simulated)
    expected = onnx_outputs(graph, image, options)["out"]
    assert np.abs(simulated - expected).max() < (0.1 if options.quantized else 0.01) * np.abs(expected).max()


@pytest.mark.slow
def test_refusals_of_the_real_toolkit_say_what_it_knows(tiny: Path, tmp_path: Path) -> None:
    """An unknown chip, a dtype the chip lacks, a damaged graph: errors with the toolkit's reason and its lists."""
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        assert {"rk3588", "rk3566"} <= set(toolkit.targets)
        assert "w8a8" in toolkit.dtypes
        with pytest.raises(ToolkitError, match=r"Invalid target_platform 'rk9999'.*knows the targets .*rk3588"):
            toolkit.build(tiny, ToolkitOptions("rk9999", "fp16"), [], tmp_path / "m.rknn")
        with pytest.raises(ToolkitError, match=r"'w8a16' not support in 'rk3588'.*knows fp16, int8, .*w8a16"):
            toolkit.build(tiny, ToolkitOptions("rk3588", "w8a16"), images(2), tmp_path / "m.rknn")
        with pytest.raises(ToolkitError, match=r"Invalid quantized_algorithm 'guess'"):
            toolkit.build(tiny, ToolkitOptions("rk3588", "int8", algorithm="guess"), images(2), tmp_path / "m.rknn")
        with pytest.raises(ToolkitError, match=r'".*bad.onnx" cannot be read'):
            toolkit.build(tmp_path / "bad.onnx", FP16, [], tmp_path / "m.rknn")
        with pytest.raises(ToolkitError, match=r"shape \(1, 3, 16, 16\) is wrong"):
            toolkit.build(tiny, INT8, [np.zeros((16, 16, 3), np.uint8)], tmp_path / "m.rknn")
    assert not list(tmp_path.glob("*.rknn*"))


@pytest.mark.slow
def test_the_real_toolkit_prints_into_the_log_only(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real build says nothing here, litters nothing here, and leaves its per-layer table in the log."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    stages: list[str] = []
    with Toolkit(log=tmp_path / "toolkit.log", on_progress=stages.append) as toolkit:
        toolkit.build(tiny, INT8, images(4), tmp_path / "model.rknn")
    assert capfd.readouterr() == ("", "")
    assert not list(here.iterdir())
    log = (tmp_path / "toolkit.log").read_text()
    assert "Network Layer Information Table" in log
    assert "Total Weight Memory Size" in log
    assert "compiling for the NPU" in stages


@pytest.mark.slow
def test_entering_does_not_wait_for_the_import(tmp_path: Path) -> None:
    """The toolkit's import goes on behind the caller's back: entering takes a fraction of it."""
    started = time.monotonic()
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        entered_s = time.monotonic() - started
        assert toolkit.version[0].isdigit()
        hello_s = time.monotonic() - started
    assert entered_s < 0.3
    assert entered_s < hello_s / 3
