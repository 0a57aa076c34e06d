"""Clips of events: what is in them, their snapshots and lines, a kill, a full disk, bounded memory."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import CaptureTime, Frame
from rkdeploy.device.stream.video_out import event_clips
from rkdeploy.device.stream.video_out.event_clips import EventClips
from rkdeploy.device.stream.video_out.event_rule import EventObject, EventRule, require_zones
from rkdeploy.device.stream.video_out.fragmented_mp4 import FragmentedMp4
from rkdeploy.device.stream.video_out.h264_encoder import H264Encoder
from rkdeploy.device.stream.video_out.keep_limits import KeepLimits
from rkdeploy.device.stream.video_out.recording_shelf import RecordingShelf
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.found_tracks import FoundTracks
from rkdeploy.errors import RkdeployError
from tests.command_line import rkdeploy
from tests.device.stream.test_video_out import read
from tests.device.tracking.moving_spot import make_spot_bundle

RATE = 10
NAMES = ("person", "long  name/of: 车")
RULE = EventRule(frozenset({0}), before_s=2.0, after_s=3.0)


def clips_of(
    folder: Path,
    told: Callable[[str], None] = lambda _text: None,
    *,
    rule: EventRule = RULE,
    limits: KeepLimits | None = None,
    live: bool = True,
) -> EventClips:
    return EventClips(folder, rule, NAMES, RecordingShelf(folder, limits), live=live, name="gate", notify=told)


def in_zones(*stays: dict[str, float]) -> FoundTracks:
    """Tracks of objects that have been in zones for some seconds."""
    return FoundTracks(np.arange(1, len(stays) + 1, dtype=np.int32), ((),) * len(stays), stays)


def play(
    clips: EventClips,
    seen_s: Iterable[float],
    length_s: float,
    *,
    class_id: int = 0,
    stays: Callable[[float], dict[str, float]] | None = None,
) -> None:
    """Encode pictures of noise at 10 a second; in those at `seen_s` there is an object, whose score grows.

    `stays` gives the seconds that it has been in zones, by the time.
    """
    encoder, began = H264Encoder(["libx264"], (160, 120), RATE, lambda _text: None), False
    random, seen = np.random.default_rng(0), {round(at * RATE): None for at in seen_s}
    clips.open()
    for index in range(round(length_s * RATE)):
        image = random.integers(0, 256, (120, 160, 3), np.uint8)
        image[:40, :40] = index % 256
        ticks = round(index / RATE * TICKS_PER_S)
        packets = encoder.encode(image, ticks)
        if not began and encoder.format is not None:
            clips.begin(encoder.format)
            began = True
        for packet in packets:
            clips.take(packet)
        found = Detections.empty()
        if index in seen:
            score = min(0.95, 0.3 + 0.01 * index)
            scores, ids = np.array([score], np.float32), np.array([class_id], np.int32)
            tracks = None if stays is None else in_zones(stays(index / RATE))
            found = Detections(np.ones((1, 4), np.float32), scores, ids, tracks=tracks)
        frame = Frame(image, "gate", index, captured=CaptureTime(1_700_000_000 + index / RATE, 0))
        clips.see(frame, found, image, ticks)
    clips.end(whole=True)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


def test_a_clip_has_the_seconds_before_and_after(tmp_path: Path) -> None:
    """It begins with a key picture at or before `before`, plays from 0, and ends `after` the last object; two objects
    within that time are one event, a later one is another.
    """
    play(clips_of(tmp_path), [10.0, 12.0, 30.0], 40.0)
    first, second = files(tmp_path, ".mp4")
    assert first.name.startswith("000001_")
    assert first.name.endswith("_person.mp4")
    times = read(first)[1]
    assert times[0] == 0
    assert times[-1] == pytest.approx(2 + 2 + 3, abs=1.05)  # key pictures are a second apart
    assert times[-1] >= 7.0
    assert read(second)[1][-1] == pytest.approx(5, abs=1.05)
    assert lines(tmp_path) == [
        {
            "source": "gate",
            "time": "2023-11-14T22:13:30.000000Z",
            "seconds": 2.0,
            "class_id": 0,
            "class_name": "person",
            "confidence": 0.95,
            "clip": first.name,
            "snapshot": first.with_suffix(".jpg").name,
        },
        {**lines(tmp_path)[1], "seconds": 0.0, "clip": second.name},
    ]


def test_the_snapshot_is_the_best_picture(tmp_path: Path) -> None:
    """That of the highest score; pictures that are hardly better do not replace it."""
    play(clips_of(tmp_path), [1.0, 3.0, 3.2], 6.0)
    (snapshot,) = files(tmp_path, ".jpg")
    picture = cv2.imread(str(snapshot))
    assert picture is not None
    assert int(picture[:32, :32].mean()) == pytest.approx(30, abs=2)
    assert lines(tmp_path)[0]["confidence"] == pytest.approx(0.6)


def test_other_classes_begin_nothing(tmp_path: Path) -> None:
    """Nor does a run without objects; the class's name is made safe for a file."""
    play(clips_of(tmp_path / "a"), [1.0], 3.0, class_id=1)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["events.jsonl"]
    play(clips_of(tmp_path / "b", rule=EventRule(frozenset({1}), 1, 1)), [1.0], 3.0, class_id=1)
    (clip,) = files(tmp_path / "b", ".mp4")
    assert clip.name[23:].strip("_").isascii()
    assert "/" not in clip.name


def test_events_can_be_of_a_zone(tmp_path: Path) -> None:
    """An object that is in the picture from 1 s on, in the yard from 2 s on, and begins an event 3 s later."""
    rule = EventRule(frozenset({0}), 0.0, 1.0, frozenset({"yard", "porch"}), 3.0)
    stays = {"street": 9.0}
    play(
        clips_of(tmp_path, rule=rule),
        [i / RATE for i in range(10, 71)],
        9.0,
        stays=lambda at_s: stays | ({"yard": at_s - 2} if at_s >= 2 else {}),
    )
    (line,) = lines(tmp_path)
    assert (line["time"], line["seconds"], line["zones"]) == ("2023-11-14T22:13:25.000000Z", 2.0, ["yard"])


def test_the_object_of_an_event_is_the_best_one_in_the_zone() -> None:
    """One with a higher score is elsewhere, one of another class, and one has not been there for long enough."""
    rule = EventRule(frozenset({0}), 1, 1, frozenset({"yard"}), 2.0)
    scores, class_ids = np.array([0.875, 0.75, 0.625, 0.25, 0.5], np.float32), np.array([0, 1, 0, 0, 0], np.int32)
    tracks = in_zones({"street": 5}, {"yard": 5}, {"yard": 1.9}, {"yard": 3}, {"yard": 2, "street": 2})
    found = Detections(np.ones((5, 4), np.float32), scores, class_ids, tracks=tracks)
    assert rule.best(found) == EventObject(0, 0.5, frozenset({"yard"}))
    assert rule.best(replace(found, tracks=None)) is None
    assert EventRule(frozenset({0}), 1, 1).best(found) == EventObject(0, 0.875, frozenset())


def test_zones_of_events_exist() -> None:
    """A line of that name is none."""
    areas = (Area("yard", ((0, 0), (1, 0), (1, 1))), Area("gate", ((0, 0), (1, 0))))
    require_zones(["yard"], areas)
    require_zones([], ())
    with pytest.raises(RkdeployError, match='Zone "gate" of --event-zone does not exist, expected one of: yard'):
        require_zones(["yard", "gate"], areas)
    with pytest.raises(RkdeployError, match="expected one of: none"):
        require_zones(["yard"], ())


def test_an_object_that_stays_is_several_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No clip is longer than its bound, and memory holds the seconds before alone."""
    monkeypatch.setattr(event_clips, "_LONGEST_TICKS", 5 * TICKS_PER_S)
    clips = clips_of(tmp_path)
    play(clips, [i / RATE for i in range(20, 200)], 20.0)
    found = files(tmp_path, ".mp4")
    assert len(found) >= 3
    assert all(read(path)[1][-1] <= 5 + 2 + 1.1 for path in found)
    assert len(clips._ring) <= (2 + 2) * RATE
    assert clips._ring_bytes == sum(len(packet.data) for packet in clips._ring)


def test_memory_is_bounded_whatever_the_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer seconds are kept if those before take more than the bound."""
    monkeypatch.setattr(event_clips, "_RING_BYTES", 200_000)
    clips = clips_of(tmp_path, rule=EventRule(frozenset({0}), 60, 1))
    play(clips, [19.0], 20.0)
    assert clips._ring_bytes <= 200_000
    assert len(files(tmp_path, ".mp4")) == 1


def test_clips_are_within_limits_and_numbers_go_on(tmp_path: Path) -> None:
    """The oldest are removed with their snapshots; the next run begins behind the last number."""
    play(clips_of(tmp_path), [1.0], 6.0)
    size = sum(path.stat().st_size for path in files(tmp_path, ".mp4"))
    play(clips_of(tmp_path, limits=KeepLimits(size_bytes=size + 60_000)), [1.0, 10.0], 15.0)
    assert [path.name[:7] for path in files(tmp_path, ".mp4")] == ["000003_"]
    assert len(lines(tmp_path)) == 3


def test_a_full_disk_leaves_a_clip_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a live source: counted and reported once, and the next one is tried; of a file the run ends."""
    told: list[str] = []
    made = FragmentedMp4

    def full(path: Path, *arguments: object, **keywords: object) -> object:
        if path.name.startswith("000001"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return made(path, *arguments, **keywords)  # type: ignore[arg-type]  # as they came

    clips = clips_of(tmp_path, told.append)
    monkeypatch.setattr(event_clips, "FragmentedMp4", full)
    play(clips, [1.0], 3.0)
    assert clips.lost == 1
    assert told[0] == "gate: a clip of an event cannot be written (No space left on device); the run goes on."
    assert told[-1] == "gate: 1 of 1 clips of events were not written."
    with pytest.raises(RkdeployError, match="was not written: No space left"):
        play(clips_of(tmp_path / "file", live=False), [1.0], 3.0)


def test_the_command_saves_clips_alone(tmp_path: Path) -> None:
    """A video in which the spot is there for a moment gives one clip, no whole video; a wrong class is refused."""
    make_spot_bundle(tmp_path / "spot")
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (32, 32))
    for index in range(100):
        picture = np.zeros((32, 32, 3), np.uint8)
        if 50 <= index < 55:
            picture[8:16, 8:16] = 230
        writer.write(picture)
    writer.release()
    words = ("run", "spot", "v.avi", "--save", "o", "--event", "bolt", "--before", "1", "--after", "1")
    result = rkdeploy(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["v_events"]
    (clip,) = files(tmp_path / "o" / "v_events", ".mp4")
    assert 2.4 <= read(clip)[1][-1] <= 3.6
    assert lines(tmp_path / "o" / "v_events")[0]["class_name"] == "bolt"
    wrong = rkdeploy("run", "spot", "v.avi", "--save", "o", "--event", "boat", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "boat" in wrong.stderr
    assert rkdeploy("run", "spot", "v.avi", "--event", "bolt", cwd=tmp_path).returncode == 2
    zone = ("--zone", "left:0,0,0.6,0,0.6,1,0,1", "--event-zone", "left", "--event-stay", "0.2")
    result = rkdeploy("run", "spot", "v.avi", "--save", "z", "--event", "bolt", *zone, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert lines(tmp_path / "z" / "v_events")[0]["zones"] == ["left"]
    assert rkdeploy("run", "spot", "v.avi", "--save", "z", *zone, cwd=tmp_path).returncode == 2
