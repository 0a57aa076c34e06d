"""The grammar of the command line: the bundle first, then sources; answers to former spellings and other words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rkdeploy.cli.bundle_argument import bundle_and_sources
from rkdeploy.cli.other_tools import answer
from tests.board.board_files import write_bundle
from tests.cli.run_with_stand_ins import stand_in_network
from tests.cli.test_run import VAL, frame_count, write_video
from tests.command_line import rkdeploy


def said(*arguments: str | Path, cwd: Path | None = None) -> str:
    """The message of a command line that is wrong usage, in one line."""
    result = rkdeploy(*arguments, cwd=cwd, env={"COLUMNS": "400", "PATH": "/usr/bin:/bin"})
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    return " ".join(result.stderr.replace("│", " ").split())


def test_the_first_argument_is_a_bundle_or_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of path decides; a missing path is a bundle if a source follows and it does not look like a source."""
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "best")
    (tmp_path / "images").mkdir()
    best = Path("best")
    assert bundle_and_sources(["best", "a.jpg", "images"]) == (best, ("a.jpg", "images"))
    assert bundle_and_sources(["best/best.rknn", "a.jpg"]) == (Path("best/best.rknn"), ("a.jpg",))
    assert bundle_and_sources(["best"]) == (best, ())
    assert bundle_and_sources(["images", "a.jpg"]) == (None, ("images", "a.jpg"))
    assert bundle_and_sources(["none.jpg", "images"]) == (None, ("none.jpg", "images"))
    assert bundle_and_sources(["rtsp://x/1", "rtsp://x/2"]) == (None, ("rtsp://x/1", "rtsp://x/2"))
    assert bundle_and_sources(["nowhere", "images"]) == (Path("nowhere"), ("images",))
    assert bundle_and_sources(["nowhere"], more_follow=True) == (Path("nowhere"), ())
    assert bundle_and_sources(["nowhere"]) == (None, ("nowhere",))
    assert bundle_and_sources([]) == (None, ())
    assert "give one bundle, as the first argument" in said("run", "images", "best", cwd=tmp_path)


def test_files_are_run_one_after_the_other(tmp_path: Path) -> None:
    """An image and two videos of one name: every frame in order with its source, and a video drawn for each."""
    first = write_video(tmp_path / "v.avi", 5)
    (tmp_path / "b").mkdir()
    second = write_video(tmp_path / "b" / "v.avi", 3)
    image = VAL / "val_0000.jpg"
    with stand_in_network(0, "-"):
        result = rkdeploy(
            "run", "x.rknn", image, first, second, "--backend", "onnxruntime", "--json", "--save", tmp_path / "o",
            "-o", tmp_path / "o.jsonl",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = [(line["source"], line["frame"]) for line in map(json.loads, result.stdout.splitlines())]
    assert found == [
        (str(image), 0),
        *((str(first), n) for n in range(5)),
        *((str(second), n) for n in range(3)),
    ]
    assert (tmp_path / "o.jsonl").read_text() == result.stdout
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["v.mp4", "v_2.mp4", "val_0000.jpg"]
    assert [frame_count(tmp_path / "o" / name) for name in ("v.mp4", "v_2.mp4")] == [5, 3]


def test_files_and_live_sources_are_not_mixed(tmp_path: Path) -> None:
    """One message, before anything is opened."""
    write_bundle(tmp_path / "best")
    result = rkdeploy(
        "run", tmp_path / "best", VAL, "rtsp://127.0.0.1:1/x", "--backend", "replay", "--replay", tmp_path
    )
    assert result.returncode == 1
    assert "one run cannot take both" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("run --source a.jpg --model best --conf 0.5", "rkdeploy run best a.jpg --conf 0.5"),
        ("run --model=best --camera 0 --jsonl -", "rkdeploy run best --camera 0 --json"),
        ("run a.jpg --jsonl out.jsonl", "rkdeploy run a.jpg -o out.jsonl"),
        ("run --camera 0 --web 0.0.0.0:8080 -q", "rkdeploy run --camera 0 --web-address 0.0.0.0:8080 -q"),
        ("run --camera 0 --web=:9000", "rkdeploy run --camera 0 --web-address :9000"),
        ("profile best --source images/ --json profile.json", "rkdeploy profile images/ best -o profile.json"),
        ("profile best --json -", "rkdeploy profile best --json"),
        ("explain best --images 8", "rkdeploy explain best --count 8"),
        ("estimate best.pt --json e.json", "rkdeploy estimate best.pt -o e.json"),
        ("compare best.pt --json=-", "rkdeploy compare best.pt --json"),
        ("build best.pt --imgsz 384 640", "rkdeploy build best.pt --imgsz 640x384"),
        ("tune best.pt --imgsz 384 640", "rkdeploy tune best.pt --imgsz 640x384"),
    ],
)
def test_former_spellings_are_answered_with_the_new_one(old: str, now: str, tmp_path: Path) -> None:
    """Exit code 2, and the whole command as it is written now."""
    assert f"This is written otherwise now: {now}" in said(*old.split(), cwd=tmp_path).rstrip(" ╯╰─")


def test_push_takes_the_bundle_first(tmp_path: Path) -> None:
    """The former order is answered; three words are too many."""
    write_bundle(tmp_path / "best")
    assert "rkdeploy push best pi@board --restart" in said("push", "pi@board", "best", "--restart", cwd=tmp_path)
    assert "expected [BUNDLE] BOARD" in said("push", "a", "b", "c", cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("export model=best.pt format=rknn imgsz=384,640 name=rk3576", "build best.pt --imgsz 640x384 --target rk3576"),
        ("export model=best.pt format=rknn half=True", "build best.pt --dtype fp16"),
        ("convert", "build best.pt"),
        ("predict model=build/best-rk3588-int8 source=clip.mp4 conf=0.4 save=True",
         "run build/best-rk3588-int8 clip.mp4 --conf 0.4 --save drawn"),
        ("detect predict model=best.pt source=0", "run BUNDLE --camera 0"),
        ("detect --weights best.pt --source images/ --conf 0.3", "run BUNDLE images/ --conf 0.3"),
        ("val model=best.pt data=coco8.yaml", "eval BUNDLE --data coco8.yaml"),
        ("val", "eval BUNDLE --data data.yaml"),
        ("benchmark model=best_rknn_model", "profile best_rknn_model"),
    ],
)  # fmt: skip
def test_words_of_the_yolo_command_line(words: str, command: str) -> None:
    """Commands and options of other programs are answered with rkdeploy's own."""
    text = answer(words.split())
    assert text.partition(" Use: rkdeploy ")[2].partition("  (")[0] == command
    assert text in " ".join(said(*words.split()).split("  ")) or "BUNDLE" in text


def test_training_is_another_tools() -> None:
    """There is no command to answer with."""
    assert "it deploys trained models" in said("train", "model=best.pt")


@pytest.mark.parametrize("command", ["export", "predict", "val", "convert", "detect", "benchmark"])
def test_such_words_are_wrong_usage(command: str) -> None:
    """One line, code 2, no traceback."""
    assert said(command, "model=best.pt").startswith("error: ")


def test_sizes_are_echoed_as_typed(tmp_path: Path) -> None:
    """WIDTHxHEIGHT in, WIDTHxHEIGHT in the message."""
    sample = VAL.parents[1] / "best.pt"
    result = rkdeploy("build", sample, "--calib", sample.parent, "--imgsz", "600x400", cwd=tmp_path)
    assert result.returncode == 1
    assert "The input size 600x400 (width x height)" in " ".join(result.stderr.split())
    assert "Use --imgsz 608x416." in result.stderr or "Use --imgsz 608x384." in result.stderr
    for wrong in ("big", "640x", "x640", "0x640", "640x384x3", "9000"):
        assert "is not a size" in said("build", sample, "--imgsz", wrong)
