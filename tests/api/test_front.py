"""`import rkdeploy` as a program meets it: light, typed, and a page to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import rkdeploy
from rkdeploy.contract.bundle import Bundle
from tests.board.board_files import write_bundle
from tests.board.shim import Shim

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("first_script.py")
TYPED = """
import cv2
import numpy as np
import rkdeploy

frame = cv2.imread("a.jpg")
with rkdeploy.load("bundle", conf=0.25, classes=["person", 2], class_conf={"person": 0.5}) as model:
    result: rkdeploy.Result = model(frame)
    several: list[rkdeploy.Result] = model(["a.jpg", "b.jpg"])
    for one in model.stream("video.mp4", max_frames=5):
        sum_of: float = sum(box.confidence for box in one.boxes)
    for two in model.stream(np.zeros((4, 4, 3), np.uint8) for _ in range(3)):
        shown = cv2.imshow("x", two.plot())
    stats = model.stream(0).stats
    dropped = 0 if stats is None else stats.dropped

async def serve() -> rkdeploy.Result:
    return await model.infer(frame)

wrong: int = model(frame)
"""


def loaded(code: str) -> set[str]:
    """Top-level packages, and rooms of rkdeploy, that a program has imported at its end."""
    names = "(m if m.startswith('rkdeploy.') else m.partition('.')[0] for m in sys.modules)"
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted({names})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {".".join(name.split(".")[:2]) for name in json.loads(result.stdout.splitlines()[-1])}


def test_the_import_alone_loads_nothing() -> None:
    """Not even numpy: what is used is imported when it is used."""
    assert not loaded("import rkdeploy; rkdeploy.__version__") & {"numpy", "cv2", "msgspec", "typer", "rkdeploy.api"}


def test_detecting_needs_nothing_of_the_host(make_shim: object, tmp_path: Path) -> None:
    """Loading, calling and streaming on a board: no onnx, no torch, no command line, none of the host's rooms."""
    assert callable(make_shim)
    make_shim()
    bundle = write_bundle(tmp_path / "bundle").folder
    code = (
        f"import rkdeploy, numpy as np; m = rkdeploy.load({str(bundle)!r}, backend='librknnrt')\n"
        "with m: m(np.zeros((20, 30, 3), np.uint8)); list(m.stream([np.zeros((20, 30, 3), np.uint8)]))"
    )
    found = loaded(code)
    assert "rkdeploy.api" in found
    heavy = {"onnx", "onnxruntime", "torch", "typer", "rich", "pycocotools", "yaml", "supervision", "ultralytics"}
    assert not found & (heavy | {"rkdeploy.host", "rkdeploy.analysis", "rkdeploy.cli"})


def test_every_name_is_there_and_no_other() -> None:
    """`__all__`, the lazy table and what type checkers see name the same."""
    for name in rkdeploy.__all__:
        assert getattr(rkdeploy, name) is not None
    assert set(rkdeploy.__all__) <= set(dir(rkdeploy))
    assert set(rkdeploy._HOMES) | {"__version__"} == set(rkdeploy.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        rkdeploy.nonsense  # type: ignore[attr-defined]  # noqa: B018 - on purpose


def test_help_reads_like_a_page() -> None:
    """`help(rkdeploy)`: the example first, then each name with its own text."""
    page = subprocess.run(
        [sys.executable, "-c", "import rkdeploy; help(rkdeploy)"], capture_output=True, text=True, check=True
    ).stdout
    assert page.index("import rkdeploy") < page.index("class Boxes")
    for name in set(rkdeploy.__all__) - {"__version__"}:
        assert name in page
        thing = getattr(rkdeploy, name)
        if callable(thing):
            assert thing.__doc__, name
            assert thing.__doc__.split()[0] in page


def test_types(tmp_path: Path) -> None:
    """mypy --strict takes what cv2.imread gives, knows what comes back, and sees the one planted mistake."""
    file = tmp_path / "program.py"
    file.write_text(TYPED)
    # The project's own options, which are strict: what `make lint` has checked is not checked again.
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in result.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, result.stdout
    assert 'expression has type "Result", variable has type "int"' in errors[0]


def write_video(folder: Path, count: int) -> Path:
    """A video of the sample's validation images."""
    path = folder / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    for file in sorted((ROOT / "calib_data" / "images" / "val").glob("*.jpg"))[:count]:
        image = cv2.imread(str(file))
        assert image is not None
        writer.write(image)
    writer.release()
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv_dnn", "simulator"])
def test_a_first_script(backend: str, sample_bundle: Bundle, tmp_path: Path) -> None:
    """Ten lines on every backend of a PC."""
    video = write_video(tmp_path, 3)
    command = [sys.executable, str(SCRIPT), str(sample_bundle.folder), backend, str(video), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = json.loads(result.stdout.replace("'", '"'))
    assert set(counts) == {"nut", "bolt", "washer"}
    assert sum(counts.values()) > 20
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["0.png", "1.png", "2.png"]


def test_a_first_script_on_a_board(make_shim: object, tmp_path: Path) -> None:
    """The same lines on the stand-in for librknnrt: one context per core, each frame run there, all closed."""
    assert callable(make_shim)
    shim = make_shim()
    assert isinstance(shim, Shim)
    bundle = write_bundle(tmp_path / "bundle")
    video = write_video(tmp_path, 3)
    command = [sys.executable, str(SCRIPT), str(bundle.folder), "librknnrt", str(video), str(tmp_path)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    calls = shim.calls()
    trials = 3 * (calls["rknn_init"] + calls["rknn_dup_context"])  # each context's buffers are tried
    assert calls["rknn_run"] == 3 + trials
    assert shim.open_contexts() == shim.open_memory() == 0
    assert not shim.abuses()
    assert len(list(tmp_path.glob("*.png"))) == 3
