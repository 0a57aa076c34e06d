"""The buffer for viewers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.jsonl import jsonl_line
from rkdeploy.device.web.frame_buffer import RING, RING_BYTES, FrameBuffer

NAMES = ("car",)


def frame(index: int, height: int = 1080, width: int = 1920) -> Frame:
    return Frame(np.broadcast_to(np.uint8(90), (height, width, 3)), "road.mp4", index)


def with_map(height: int = 1080, width: int = 1920) -> Detections:
    class_ids = np.zeros((height, width), np.uint8)
    class_ids[height // 2 :] = 1
    return replace(Detections.empty(), class_maps=(FoundClassMap("road", ("none", "drivable"), class_ids),))


def with_mask() -> Detections:
    return Detections(
        np.array([[400, 300, 1400, 900]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32),
        masks=(InstanceMask(400, 300, np.ones((600, 1000), np.bool_)),),
    )  # fmt: skip


def test_the_ring_is_bounded_in_bytes() -> None:
    """Without a listener, maps of hundreds of frames do not pile up; what is left is the newest, in order."""
    frame_buffer = FrameBuffer()
    for i in range(200):
        frame_buffer.put(frame(i), with_map())
    waiting = frame_buffer.found_after(0)
    assert sum(found.pixel_bytes for found in waiting) <= RING_BYTES
    assert len(waiting) == RING_BYTES // (1080 * 1920)
    assert [found.number for found in waiting] == list(range(201 - len(waiting), 201))


def test_a_single_frame_may_be_larger_than_the_bound() -> None:
    """It is kept until the next one comes."""
    frame_buffer = FrameBuffer()
    large = replace(with_mask(), masks=(InstanceMask(0, 0, np.broadcast_to(np.True_, (9000, 9000))),))
    frame_buffer.put(frame(0), large)
    frame_buffer.put(frame(1), large)
    assert [found.index for found in frame_buffer.found_after(0)] == [1]


def test_frames_that_have_been_written_hold_nothing() -> None:
    """A listener that keeps up has the whole ring; its lines are those of run --json, written once."""
    frame_buffer = FrameBuffer()
    for i in range(RING + 10):
        found, one = with_map() if i % 2 else with_mask(), frame(i)
        frame_buffer.put(one, found)
        (newest,) = frame_buffer.found_after(i)
        assert newest.line(NAMES) == jsonl_line(one, found, NAMES)
        assert newest.line(NAMES) is newest.line(NAMES)
        assert (newest.detections, newest.pixel_bytes) == (None, 0)
    assert len(frame_buffer.found_after(0)) == RING


def test_each_stream_has_its_newest_frame() -> None:
    """A stream's frame replaces its own only; the ring holds as many of each as of a single one."""
    frame_buffer = FrameBuffer(3)
    for number in range(10):
        frame_buffer.put(replace(frame(number), origin=number % 2), Detections.empty())
    newest = [frame_buffer.newest(stream) for stream in range(3)]
    assert [one and (one.number, one.place, one.frame.index) for one in newest] == [(9, 5, 8), (10, 5, 9), None]
    assert [frame_buffer.number(stream) for stream in (0, 1, 2, None)] == [9, 10, 0, 10]
    assert [(one.stream, one.place) for one in frame_buffer.found_after(7)] == [(1, 4), (0, 5), (1, 5)]
    assert frame_buffer.seconds_since(2) >= frame_buffer.seconds_since(1)
    for number in range(RING * 3 + 1):
        frame_buffer.put(replace(frame(number), origin=0), Detections.empty())
    assert len(frame_buffer.found_after(0)) == 3 * RING


def test_files_one_after_the_other_are_one_stream() -> None:
    """A frame's origin does not matter in a view of one stream."""
    frame_buffer = FrameBuffer()
    frame_buffer.put(replace(frame(0), origin=4), Detections.empty())
    assert frame_buffer.number(0) == 1
