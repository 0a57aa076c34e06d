"""Several streams in one view: pictures, figures and health of each."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rkdeploy.device.drawing.mosaic import mosaic_layout
from rkdeploy.device.postprocess.detections import Detections, FoundText, Ranking
from rkdeploy.device.stream.bundle_run import run_bundle
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.run_events import RunEvents, Running
from rkdeploy.device.stream.run_options import RunOptions
from rkdeploy.device.stream.sources.several import LiveSources
from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, ZoneCount
from rkdeploy.device.web.frame_buffer import RING
from rkdeploy.device.web.jpeg import JpegOptions
from rkdeploy.device.web.objects import objects_of
from rkdeploy.device.web.view import WebView
from rkdeploy.system.file_names import readable_name
from tests.cli.run_with_stand_ins import stand_in_network
from tests.device.stream.stand_ins import StandInSource, frame
from tests.device.web.live_view import (
    NAMES,
    SPEC,
    WAIT_S,
    get,
    get_json,
    one_box,
    page_pictures,
    parts,
    silent_viewer,
    stats,
    stats_of,
    streaming,
    view_on,
    wait_until,
)  # fmt: skip
from tests.device.web.test_web_view import samples

STREAMS = ("gate", "yard 2", "hall")


def gray(origin: int, index: int, value: int, side: int = 64) -> Frame:
    return Frame(np.full((side, side, 3), value, np.uint8), STREAMS[origin], index, index * 40.0, origin)


def write_one_of_each(view: WebView) -> None:
    for origin, value in enumerate((40, 120, 200)):
        view.write(gray(origin, 7 + origin, value), one_box(origin))


def test_the_page_gets_the_pictures_of_all_streams_with_their_facts() -> None:
    """Each picture comes with the frame, the objects and the counts that belong to it; streams take turns."""
    with view_on(streams=STREAMS, options=JpegOptions(quality=95)) as view, streaming(view, "/pictures") as answer:
        write_one_of_each(view)
        shown = page_pictures(answer)
        found = {facts["stream"]: (facts, picture) for facts, picture in (next(shown) for _ in range(3))}
        for origin, value in enumerate((40, 120, 200)):
            facts, picture = found[origin]
            assert abs(float(np.median(picture[48:])) - value) < 8
            assert (facts["frame"], facts["processed"], facts["objects"]) == (7 + origin, 1, [[NAMES[origin], 1]])
            assert (facts["width"], facts["height"]) == (64, 64)
        view.write(gray(1, 50, 90), Detections.empty())
        facts, picture = next(shown)
        assert (facts["stream"], facts["frame"], facts["processed"], facts["objects"]) == (1, 50, 2, [])
        assert facts["processed_of_all"] == 4
        assert abs(float(picture.mean()) - 90) < 3


def test_one_stream_can_be_asked_for() -> None:
    """By its name or its position, in full size; what does not exist is 404 with those that do."""
    large = gray(1, 3, 120, side=1200)
    for asked in ("yard 2", "1"):
        query = urllib.parse.urlencode({"stream": asked})
        with view_on(streams=STREAMS) as view, streaming(view, f"/pictures?{query}") as answer:
            view.write(gray(0, 1, 40), Detections.empty())
            view.write(large, Detections.empty())
            facts, picture = next(page_pictures(answer))
            assert (facts["stream"], picture.shape) == (1, (1200, 1200, 3))
            with streaming(view, f"/stream?{query}") as images:
                assert next(parts(images)).shape == (1200, 1200, 3)
            with streaming(view, "/pictures") as images:
                sizes = {facts["stream"]: picture.shape[0] for facts, picture in take(page_pictures(images), 2)}
                assert sizes == {0: 64, 1: 640}, "in the grid they are small"
    with view_on(streams=STREAMS) as view:
        for path in ("/pictures?stream=attic", "/stream?stream=3", "/detections?stream=-1", "/healthz?stream="):
            status, _, body = get(view, path)
            assert status == 404
            assert b"1: yard 2" in body


def take(shown: Iterator[tuple[dict[str, Any], Any]], count: int) -> list[tuple[dict[str, Any], Any]]:
    return list(islice(shown, count))


def test_the_stream_has_all_in_one_picture() -> None:
    """For an <img> elsewhere: a grid with the names, and a cell that says that nothing has come."""
    with view_on(streams=STREAMS, options=JpegOptions(quality=95)) as view, streaming(view, "/stream") as answer:
        write_one_of_each(view)
        picture = next(parts(answer))
        layout = mosaic_layout(3, 1280)
        assert picture.shape == (layout.size_wh[1], layout.size_wh[0], 3)
        for cell, value in enumerate((40, 120, 200)):
            x, y = (
                corner + part * side
                for corner, part, side in zip(layout.corner(cell), (0.5, 0.8), layout.cell_wh, strict=True)
            )
            assert abs(float(picture[round(y), round(x)].mean()) - value) < 6


def test_detections_of_one_stream() -> None:
    """Only its lines, and of it only what was missed."""
    with view_on(streams=STREAMS) as view, streaming(view, "/detections?stream=gate") as answer:
        assert answer.readline() == b"retry: 2000\n"
        write_one_of_each(view)
        view.write(gray(0, 30, 1), Detections.empty())
        lines = events(answer, 2)
        assert [(line["source"], line["frame"]) for line in lines] == [("gate", 7), ("gate", 30)]


def events(answer: http.client.HTTPResponse, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = answer.readline()
        assert not line.startswith(b"event: missed"), "frames of other streams were not missed"
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    return found


def test_status_metrics_and_health_by_stream() -> None:
    """Names, rates, drops and reconnections of each; one that lost its camera is named and does not hide the others."""
    with view_on(streams=STREAMS, healthy_within_s=0.5) as view:
        before = samples(get(view, "/metrics")[2])
        assert ("rkdeploy_stream_frames_per_second", "gate") not in before
        view.watch(lambda: stats_of(STREAMS, (5, 4, 3)), lambda: "a stand-in", "rknnlite", on_npu=True)
        write_one_of_each(view)

        def only_gate() -> bool:
            view.write(gray(0, 9, 50), Detections.empty())
            return not get_json(view, "/status")["streams"][2]["healthy"]

        wait_until(only_gate)
        status = get_json(view, "/status")
        found = samples(get(view, "/metrics")[2])
        health = get_json(view, "/healthz")
        assert [get(view, f"/healthz?stream={number}")[0] for number in range(3)] == [200, 503, 503]
    assert (status["backend"], status["on_npu"]) == ("rknnlite", True)
    assert [one["name"] for one in status["streams"]] == list(STREAMS)
    yard = status["streams"][1]
    assert (yard["processed"], yard["dropped_before_network"], yard["reconnects"]) == (4, 1, 1)
    assert yard["frames_per_second"] == 11
    assert found["rkdeploy_stream_frames_processed_total", "hall"] == 3
    assert found["rkdeploy_stream_frames_dropped_total", "sinks", "yard 2"] == 1
    assert found["rkdeploy_stream_reconnects_total", "hall"] == 2
    assert found["rkdeploy_stream_healthy", "gate"] == 1
    assert found["rkdeploy_stream_healthy", "hall"] == 0
    assert found["rkdeploy_frames_processed_total",] == 12
    assert (health["healthy"], health["without_frames"]) == (True, ["yard 2", "hall"])


def test_a_single_stream_is_in_the_list_too() -> None:
    """So that a dashboard is the same for boards with one camera and with four."""
    with view_on() as view:
        view.watch(stats, lambda: "a stand-in")
        wait_until(lambda: get_json(view, "/status")["stats"])
        (one,) = get_json(view, "/status")["streams"]
        found = samples(get(view, "/metrics")[2])
        assert "without_frames" not in get_json(view, "/healthz")
    assert (one["name"], one["processed"], one["dropped_before_sinks"]) == ("camera 0", 120, 5)
    assert found["rkdeploy_stream_frames_processed_total", "camera 0"] == 120


def test_viewers_that_never_read_hold_up_none_of_the_streams() -> None:
    """Ten full sockets: another viewer gets every stream's newest frame, and memory has a bound by streams."""
    with view_on(streams=STREAMS, options=JpegOptions(max_per_second=200)) as view:
        assert view.app is not None
        app = view.app
        viewers = [silent_viewer(view, "/pictures") for _ in range(10)]
        wait_until(lambda: app.viewers.taken == 10)
        with streaming(view, "/pictures") as answer:
            shown = page_pictures(answer)
            for index in range(40):
                for origin in range(3):
                    view.write(gray(origin, index, index, side=480), one_box())
                seen = {facts["stream"]: facts["frame"] for facts, _ in take(shown, 3)}
                assert seen == dict.fromkeys(range(3), index)
        assert len(view._frame_buffer.found_after(0)) == 120 < 3 * RING
    for viewer in viewers:
        viewer.close()


class Events(RunEvents):
    """Ends the run once `see` has been called with the view's address."""

    def __init__(self, see: Callable[[str], None]) -> None:
        self._see, self._url, self._over = see, "", threading.Event()

    def view(self, url: str) -> None:
        self._url = url

    def started(self, run: Running) -> None:
        self._see(self._url)
        self._over.set()

    def ends(self) -> bool:
        return self._over.is_set()


def test_a_run_of_two_cameras_shows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run --web` on several live sources: the pictures and figures of each, under names that differ."""
    seen: list[Any] = []

    def see(url: str) -> None:
        port = urllib.parse.urlsplit(url).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        connection.request("GET", "/pictures")
        shown = page_pictures(connection.getresponse())
        seen.append({facts["stream"] for facts, _ in take(shown, 12)})
        connection.close()
        connection.request("GET", "/status")
        seen.append(json.load(connection.getresponse()))

    def endless(origin: int) -> Iterator[Frame]:
        for index in itertools.count():
            time.sleep(0.01)
            yield replace(frame(index, value=7), source="camera", origin=origin)

    def open_sources(*_: object, **__: object) -> LiveSources:
        parts = [StandInSource(endless(origin), live=True) for origin in range(2)]
        for part in parts:
            part.text = "camera"
        return LiveSources(parts)

    monkeypatch.setattr("rkdeploy.device.stream.bundle_run.open_sources", open_sources)
    bundle: Any = SimpleNamespace(spec=SPEC, folder=Path("stand-in"))
    with stand_in_network(1, "-"):
        run_bundle(bundle, RunOptions(web_address="127.0.0.1:0"), Events(see))
    streams, status = seen
    assert streams == {0, 1}
    assert [one["name"] for one in status["streams"]] == ["camera", "camera (2)"]
    assert all(one["processed"] for one in status["streams"])
    assert (status["backend"], status["on_npu"]) == ("stand-in", False)


def test_names_from_addresses_are_text(tmp_path: Path) -> None:
    """Letters that are not valid text do not break the status or the metrics."""
    names = ("rtsp://***@10.0.0.7/\udce9", 'a"\\\n{b}')
    with view_on(streams=names, sysroot=tmp_path) as view:
        view.watch(lambda: stats_of([readable_name(name) for name in names], (1, 2)), lambda: "a stand-in")
        assert [one["processed"] for one in get_json(view, "/status")["streams"]] == [1, 2]
        assert samples(get(view, "/metrics")[2])["rkdeploy_stream_frames_processed_total", names[1]] == 2


def test_lines_and_zones_are_counted_by_stream() -> None:
    """The counts up to a frame come with its picture, and are in the status and the metrics of its stream."""
    ends = ((0.0, 0.0), (9.0, 9.0))
    line = LineCount("door", ends, {0: 2, 1: 3}, {1: 1})
    zone = ZoneCount("yard", (*ends, (9.0, 0.0)), {0: 2}, {0: 4}, {0: 2}, {0: 4}, 1.0, 2.0)
    tracks = FoundTracks(np.zeros(0, np.int32), (), (), (), (line,), (zone,))
    with view_on(streams=STREAMS) as view, streaming(view, "/pictures") as answer:
        view.watch(lambda: stats_of(STREAMS, (0, 1, 0)), lambda: "a stand-in")
        view.write(gray(1, 0, 50), replace(Detections.empty(), tracks=tracks))
        facts, _ = next(page_pictures(answer))
        found = samples(get(view, "/metrics")[2])
        status = get_json(view, "/status")
    expected = [
        {"name": "door", "entered": 5, "left": 1, "inside": None},
        {"name": "yard", "entered": 4, "left": 2, "inside": 2},
    ]
    assert facts["places"] == expected
    assert [one["places"] for one in status["streams"]] == [[], expected, []]
    assert found["rkdeploy_crossings_total", "in", "line", "door", "yard 2"] == 5
    assert found["rkdeploy_crossings_total", "out", "zone", "yard", "yard 2"] == 2
    assert found["rkdeploy_zone_tracks", "yard", "yard 2"] == 2


def test_words_for_results_of_every_kind() -> None:
    """Equal objects are counted, rare classes together; texts, first classes and names stand for themselves."""
    three = Detections(np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.array([1, 0, 1], np.int32))
    assert objects_of(three, NAMES) == (("nut", 2), ("bolt", 1))
    many = Detections(np.zeros((40, 4), np.float32), np.ones(40, np.float32), np.arange(40, dtype=np.int32))
    assert objects_of(many, [f"c{i}" for i in range(40)])[-1] == ("others", 16)
    read = replace(
        Detections.empty(), text=FoundText(("A", "B"), np.full(2, 0.9, np.float32), np.arange(2, dtype=np.int32))
    )
    assert objects_of(read, ()) == (("AB 0.90", 0),)
    ranking = Ranking(np.array([2, 1], np.int32), np.array([0.75, 0.25], np.float32))
    assert objects_of(replace(Detections.empty(), ranking=ranking), NAMES) == (("<b>washer</b> 0.75", 0),)
    assert objects_of(Detections.empty(), NAMES) == ()
