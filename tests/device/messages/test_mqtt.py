"""Results to a real broker: what arrives, what is lost when it is killed, and that the run never waits."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.messages.broker_address import broker_address, topic_levels
from rkdeploy.device.messages.discovery import discovery_messages
from rkdeploy.device.messages.mqtt_sink import MqttSink
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import CaptureTime, Frame
from rkdeploy.device.stream.sinks.jsonl import jsonl_line
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, ZoneCount
from rkdeploy.errors import RkdeployError
from tests.device.messages.broker import Broker, Listener, free_port, until

PROGRAM = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
NAMES = ("bolt", '螺"母')
STREAMS = ("gate", "rtsp://10.0.0.8/cam1")
FOUND = Detections(
    np.array([[1, 2, 30, 40], [5, 6, 7, 8], [1, 1, 9, 9]], np.float32),
    np.array([0.9, 0.5, 0.25], np.float32),
    np.array([0, 1, 1], np.int32),
)
AREAS = (
    Area("door", ((0, 0), (9, 9))),
    Area('ho"f', ((0, 0), (9, 0), (9, 9)), STREAMS[0]),
    Area("other", ((0, 0), (9, 9)), STREAMS[1]),
)
TRACKED = replace(
    FOUND,
    tracks=FoundTracks(
        np.array([1, 2, 3], np.int32),
        ((), (), ()),
        ({}, {}, {}),
        lines=(LineCount("door", ((0, 0), (9, 9)), {0: 2, 1: 3}, {1: 4}),),
        zones=(ZoneCount('ho"f', AREAS[1].points, {1: 1}, {0: 2}, {}, {0: 5}, 1.5, 2.5),),
    ),
)
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that lets everyone in."""
    assert PROGRAM is not None
    one = Broker(PROGRAM, tmp_path)
    one.start()
    yield one
    one.kill()


def frame(index: int = 0, origin: int = 0) -> Frame:
    return Frame(
        np.zeros((48, 64, 3), np.uint8), STREAMS[origin], index, 40.0, origin, CaptureTime(1_700_000_000.25, 1.5)
    )


def sink_of(
    port: int, told: list[str], *, discovery: bool = False, every_s: float = 0.0, areas: Sequence[Area] = ()
) -> MqttSink:
    address = broker_address(f"mqtt://127.0.0.1:{port}/plant/line")
    return MqttSink(
        address, STREAMS, NAMES, title="line", every_s=every_s, discovery=discovery, areas=areas, notify=told.append
    )


@needs_broker
def test_results_arrive_with_their_counts(broker: Broker) -> None:
    """The JSON line and the counts of each stream under its own topic; online while it runs, offline behind it."""
    told: list[str] = []
    with Listener(broker.port) as listener:
        with sink_of(broker.port, told) as sink:
            until(lambda: listener.last.get("plant/line/status") == "online", "online")
            for origin in (0, 1):
                sink.write(frame(7, origin), FOUND)
            until(lambda: len(listener.last) == 5, "two topics of two streams, and the status")
        until(lambda: listener.last["plant/line/status"] == "offline", "offline")
        found = listener.last
    assert found["plant/line/gate/detections"] == jsonl_line(frame(7), FOUND, NAMES)
    assert json.loads(found["plant/line/10.0.0.8_cam1/detections"])["source"] == STREAMS[1]
    assert json.loads(found["plant/line/gate/counts"]) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "total": 3,
        "classes": {"bolt": 1, '螺"母': 2},
    }
    assert (sink.sent, sink.lost, told) == (2, 0, [])
    with Listener(broker.port) as late:
        until(lambda: len(late.last) == 3, "counts and status are retained")
        assert set(late.last) == {f"plant/line/{name}" for name in ("status", "gate/counts", "10.0.0.8_cam1/counts")}


@needs_broker
def test_home_assistant_is_told_of_the_sensors(broker: Broker) -> None:
    """Retained; every sensor reads a topic that exists, and its template finds the figures in it."""
    jinja2 = pytest.importorskip("jinja2")
    with sink_of(broker.port, [], discovery=True) as sink, Listener(broker.port) as listener:
        until(lambda: len(listener.last) >= 9, "8 sensors and the status")
        sink.write(frame(), FOUND)
        until(lambda: "plant/line/gate/counts" in listener.last, "counts")
        found = dict(listener.last)
    configs = {topic: json.loads(text) for topic, text in found.items() if topic.endswith("/config")}
    assert len(configs) == 8
    assert len({one["unique_id"] for one in configs.values()}) == 8
    values = {}
    for topic, one in configs.items():
        assert topic.startswith(("homeassistant/sensor/plant_line_", "homeassistant/binary_sensor/plant_line_"))
        assert one["availability_topic"] == "plant/line/status"
        assert one["device"]["identifiers"] == ["plant_line"]
        if one["state_topic"] == "plant/line/gate/counts":
            counts = json.loads(found[one["state_topic"]])
            values[one["name"]] = jinja2.Template(one["value_template"]).render(value_json=counts)
    assert values == {"gate: occupied": "True", "gate: objects": "3", "gate: bolt": "1", 'gate: 螺"母': "2"}


def test_classes_that_are_not_wanted_are_no_sensors() -> None:
    """80 classes are too many to have a sensor each, two of them are not; ids do not depend on what is wanted."""
    names = [f"class {number}" for number in range(80)]

    def found(wanted: list[int] | None) -> list[str]:
        messages = discovery_messages("t", [("gate", "gate")], names, "line", (), wanted)
        return [json.loads(text)["unique_id"] for _, text in messages]

    assert found(None) == ["t_gate_occupied", "t_gate_objects"]
    assert found([2, 17]) == ["t_gate_occupied", "t_gate_objects", "t_gate_class_2", "t_gate_class_17"]


@needs_broker
def test_lines_and_zones_are_sensors(broker: Broker) -> None:
    """Each stream has those that are its own: crossings that only increase, and whether a track is inside."""
    jinja2 = pytest.importorskip("jinja2")
    with sink_of(broker.port, [], discovery=True, areas=AREAS) as sink, Listener(broker.port) as listener:
        until(lambda: len(listener.last) >= 17, "16 sensors and the status")
        sink.write(frame(), TRACKED)
        until(lambda: "plant/line/gate/counts" in listener.last, "counts")
        found = dict(listener.last)
    counts = json.loads(found["plant/line/gate/counts"])
    assert counts["lines"] == {"door": {"in": 5, "out": 4}}
    assert counts["zones"] == {'ho"f': {"inside": 1, "in": 2, "out": 0}}
    configs = [json.loads(text) for topic, text in found.items() if topic.endswith("/config")]
    places = [one for one in configs if one["name"].split(": ")[1].startswith(("door", "ho", "other"))]
    assert sorted(one["name"] for one in places if "10.0.0.8" in one["state_topic"]) == [
        f"{STREAMS[1]}: {name}" for name in ("door in", "door out", "other in", "other out")
    ]
    here = [one for one in places if one["state_topic"] == "plant/line/gate/counts"]
    assert {one["name"]: jinja2.Template(one["value_template"]).render(value_json=counts) for one in here} == {
        "gate: door in": "5",
        "gate: door out": "4",
        'gate: ho"f occupied': "True",
        'gate: ho"f objects': "1",
    }
    assert {one["name"] for one in here if one.get("state_class") == "total_increasing"} == {
        "gate: door in",
        "gate: door out",
    }


@needs_broker
def test_a_broker_that_is_killed_and_comes_back(broker: Broker) -> None:
    """Results meanwhile are lost and counted; writing takes no time; the sink goes on by itself, and says both once."""
    told: list[str] = []
    with sink_of(broker.port, told) as sink:
        until(lambda: _written(sink, 1) and sink.sent >= 3, "results are sent")
        broker.kill()
        until(lambda: _written(sink, 2) and sink.lost >= 3, "results are lost")
        begun = time.monotonic()
        for index in range(1000):
            sink.write(frame(index), FOUND)
        assert time.monotonic() - begun < 1.0
        broker.start()
        before = sink.sent
        until(lambda: _written(sink, 3) and sink.sent >= before + 3, "results are sent again")
    name = f"mqtt://127.0.0.1:{broker.port}"
    assert told[0].startswith(f"{name}: the connection is lost (")
    assert told[1:] == [f"{name}: connected.", f"{name}: {sink.sent} results sent, {sink.lost} lost."]


def _written(sink: MqttSink, index: int) -> bool:
    sink.write(frame(index), FOUND)
    return True


def test_a_broker_that_reads_nothing_holds_no_one() -> None:
    """It takes the connection and is silent: results are lost, and the end comes within seconds."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with sink_of(silent.getsockname()[1], []) as sink:
            for index in range(100):
                sink.write(frame(index), FOUND)
            until(lambda: sink.lost > 0, "lost")
        assert time.monotonic() - begun < 10
    assert sink.sent == 0


def test_a_broker_that_is_not_there_is_told_once() -> None:
    """The run goes on without it."""
    told: list[str] = []
    port = free_port()
    with sink_of(port, told) as sink:
        until(lambda: _written(sink, 1) and told and sink.lost > 2, "told")
    assert told == [
        f"mqtt://127.0.0.1:{port} cannot be reached; trying again.",
        f"mqtt://127.0.0.1:{port}: 0 results sent, {sink.lost} lost.",
    ]


@needs_broker
def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    """With the broker's reason, and without the password."""
    assert PROGRAM is not None
    (tmp_path / "users").write_text("")
    (tmp_path / "users").chmod(0o600)
    one = Broker(PROGRAM, tmp_path, f"allow_anonymous false\npassword_file {tmp_path / 'users'}\nuser root")
    one.start()
    told: list[str] = []
    try:
        address = broker_address(f"mqtt://me:secret@127.0.0.1:{one.port}/t")
        with MqttSink(address, STREAMS, NAMES, title="t", notify=told.append):
            until(lambda: told, "told")
    finally:
        one.kill()
    assert "refuses the connection: Not authorized" in told[0]
    assert "secret" not in repr(address) + "".join(told)


@needs_broker
def test_a_killed_run_is_offline(broker: Broker) -> None:
    """The broker says so by itself, since the run left its will."""
    script = (
        "import sys, time; from tests.device.messages.test_mqtt import sink_of\n"
        "with sink_of(int(sys.argv[1]), []): time.sleep(600)"
    )
    with Listener(broker.port) as listener:
        with subprocess.Popen([sys.executable, "-c", script, str(broker.port)]) as process:
            until(lambda: listener.last.get("plant/line/status") == "online", "online")
            process.kill()
        until(lambda: listener.last["plant/line/status"] == "offline", "offline")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://10.0.0.2", ("10.0.0.2", 1883, False, None, None)),
        ("mqtts://h:1/a/b/", ("h", 1, True, None, None)),
        ("mqtt://u%40x:p%2Fw@[::1]:9/t", ("::1", 9, False, "u@x", "p/w")),
    ],
)
def test_addresses(text: str, expected: tuple[object, ...]) -> None:
    """Host, port, encryption, user and password; what messages say has neither of these."""
    found = broker_address(text)
    assert (found.host, found.port, found.tls, found.user, found.password) == expected
    assert "@" not in found.text
    assert found.topic == {"10.0.0.2": found.topic, "h": "a/b", "::1": "t"}[found.host]


@pytest.mark.parametrize(
    "text", ["10.0.0.2", "http://h", "mqtt://", "mqtt://h:99999", "mqtt://h/a/+", "mqtt://h/a//b", "mqtt://h?x=secret"]
)
def test_wrong_addresses(text: str) -> None:
    """Refused without repeating what may hold a password."""
    with pytest.raises(RkdeployError) as caught:
        broker_address(text)
    assert "secret" not in str(caught.value)


def test_streams_have_topics_of_their_own() -> None:
    """Characters that a topic may not have are left out, and equal names are numbered."""
    assert topic_levels(("rtsp://a/1", "a 1", "a_1", "#", "/dev/video0")) == (
        "a_1", "a_1_2", "a_1_3", "stream", "dev_video0",
    )  # fmt: skip
