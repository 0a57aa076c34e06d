"""The live view while a pipeline runs: every address, slow viewers, the end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.sinks.jsonl import jsonl_line
from rkdeploy.device.stream.statistics import RecognizerStats
from rkdeploy.device.web.frame_buffer import RING, FrameBuffer
from rkdeploy.device.web.jpeg import JpegOptions
from rkdeploy.errors import RkdeployError
from tests.device.stream.stand_ins import THRESHOLDS, StandInRuntime, StandInSource
from tests.device.stream.stand_ins import frame as grey_frame
from tests.device.web.live_view import (
    NAMES,
    SPEC,
    WAIT_S,
    get,
    get_json,
    one_box,
    parts,
    picture,
    silent_viewer,
    stats,
    streaming,
    threads,
    view_on,
    wait_until,
)  # fmt: skip

ROOT = Path(__file__).parents[3]
RUN_SCRIPT = ("-m", "tests.cli.run_with_stand_ins")


def test_the_page_is_self_contained() -> None:
    """One document whose policy allows its own script and style by hash, and no requests to other hosts."""
    with view_on() as view:
        status, headers, body = get(view, "/")
    page, policy = body.decode(), headers["content-security-policy"]
    assert status == 200
    assert not re.findall(r"https?://|//[a-z]", page.replace("// ", ""))
    for kind in ("script", "style"):
        assert len(re.findall(rf"{kind}-src 'sha256-[^']+';", policy)) == 1
    assert "unsafe" not in policy
    assert " style=" not in page
    assert not re.findall(r"\son[a-z]+=", page)


def test_the_stream_shows_the_newest_frame() -> None:
    """A viewer gets the frame that came last, with its boxes drawn, and then the next one."""
    with view_on(options=JpegOptions(quality=95)) as view:
        view.write(picture(10), Detections.empty())
        view.write(picture(200), Detections.empty())
        with streaming(view, "/stream") as answer:
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=rkdeploy-frame"
            shown = parts(answer)
            assert abs(float(next(shown)[:28].mean()) - 200) < 3
            view.write(picture(90), one_box())
            drawn = next(shown)
            assert abs(float(np.median(drawn[:8])) - 90) < 8
            assert float(np.std(drawn[:28])) > 3


def test_large_frames_are_scaled_and_boxes_with_them() -> None:
    """The stream is at most 1280 pixels on its longer side."""
    with view_on() as view:
        view.write(Frame(np.zeros((100, 2560, 3), np.uint8), "x", 0), one_box())
        with streaming(view, "/stream") as answer:
            assert next(parts(answer)).shape == (50, 1280, 3)


def test_nothing_is_encoded_without_viewers_and_once_for_all() -> None:
    """No viewer, no JPEG; five viewers of one frame, one JPEG."""
    with view_on() as view:
        assert view.pictures is not None
        for i in range(100):
            view.write(picture(i), Detections.empty())
        assert view.pictures.encoded == 0
        for _ in range(5):
            with streaming(view, "/stream") as answer:
                next(parts(answer))
        assert view.pictures.encoded == 1


def test_detections_are_json_lines_as_events() -> None:
    """Every frame's object arrives in order, the same that run --json writes."""
    frames = [picture(i, 8) for i in range(20)]
    with view_on() as view, streaming(view, "/detections") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.readline() == b"retry: 2000\n"
        for one in frames:
            view.write(one, one_box())
        lines: list[str] = []
        while len(lines) < 20:
            line = answer.readline().decode()
            if line.startswith("data: "):
                lines.append(line[6:].rstrip("\n"))
    assert lines == [jsonl_line(one, one_box(), NAMES) for one in frames]


def test_a_listener_that_falls_behind_is_told_how_much_it_missed() -> None:
    """The ring keeps the newest; what is gone is counted, not waited for."""
    frame_buffer = FrameBuffer()
    assert frame_buffer.found_after(0) == []
    for i in range(RING + 44):
        frame_buffer.put(picture(i, 2), one_box())
    found = frame_buffer.found_after(0)
    assert [one.number for one in found] == list(range(45, RING + 45))
    assert frame_buffer.found_after(RING + 44) == []
    assert [one.index for one in frame_buffer.found_after(RING + 42)] == [RING + 42, RING + 43]


def test_status_tells_the_figures_and_their_origin(tmp_path: Path) -> None:
    """The pipeline's counts are passed on; figures that this machine does not have come with a reason."""
    with view_on(sysroot=tmp_path) as view:
        assert get_json(view, "/status")["stats"] is None
        view.watch(stats, lambda: "a stand-in")
        wait_until(lambda: get_json(view, "/status")["stats"])
        status = get_json(view, "/status")
    assert status["title"] == "best-rk3588-int8"
    assert status["figures_from"] == "a stand-in"
    assert status["stats"]["dropped_before_network"] == 3
    assert status["stats"]["stages"]["infer"]["p50_ms"] == pytest.approx(21)
    board = status["board"]
    assert board["npu_load_percent"] is None
    assert "no rknpu driver" in board["why_no_npu_load"]
    assert board["why_no_temperatures"]
    assert board["why_no_npu_clock"]


def board_files(root: Path) -> Path:
    """The kernel files of an RK3588."""
    files = {
        "sys/kernel/debug/rknpu/load": "NPU load:  Core0: 71%, Core1: 68%, Core2:  0%,",
        "sys/class/devfreq/fdab0000.npu/cur_freq": "1000000000",
        "sys/class/devfreq/fdab0000.npu/max_freq": "1000000000",
        "sys/class/devfreq/fdab0000.npu/governor": "rknpu_ondemand",
        "sys/class/thermal/thermal_zone0/type": "npu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "61461",
        "sys/class/thermal/thermal_zone1/type": "npu-thermal",
        "sys/class/thermal/thermal_zone1/temp": "63000",
        "proc/device-tree/model": "Radxa ROCK 5B",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Name and label values, in the order of the labels' names, to value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    """Prometheus' own parser finds every figure in its unit; sensors of one name are one series."""
    with view_on(sysroot=board_files(tmp_path)) as view:
        view.watch(stats, lambda: "a stand-in")
        status, headers, text = get(view, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(text)
    assert found["rkdeploy_frames_processed_total",] == 120
    assert found["rkdeploy_frames_dropped_total", "sinks"] == 5
    assert found["rkdeploy_stage_latency_seconds", "0.5", "infer"] == pytest.approx(0.021)
    assert found["rkdeploy_npu_load_ratio", "0"] == pytest.approx(0.71)
    assert found["rkdeploy_npu_load_ratio", "2"] == 0
    assert found["rkdeploy_temperature_celsius", "npu-thermal"] == 63
    assert found["rkdeploy_clock_hertz", "NPU"] == 1e9
    assert found["rkdeploy_healthy",] == 1
    series = re.findall(rb"^([^#\s]\S*(?:\{[^}]*\})?) ", text, re.MULTILINE)
    assert len(series) == len(set(series))


def test_metrics_count_the_crops_of_a_chain(tmp_path: Path) -> None:
    """Two further models of one name are two series."""
    one = RecognizerStats("plate-text", 40, 1, 2, 3, 3, 0, stats().stages)
    chain = replace(stats(), recognizers=(one, replace(one, crops=7)))
    with view_on(sysroot=tmp_path) as view:
        view.watch(lambda: chain, lambda: "a stand-in")
        found = samples(get(view, "/metrics")[2])
        shown = json.loads(get(view, "/status")[2])
    assert found["rkdeploy_crops_total", "answered", "1 plate-text"] == 40
    assert found["rkdeploy_crops_total", "answered", "2 plate-text"] == 7
    assert found["rkdeploy_crops_total", "left_out", "1 plate-text"] == 2
    assert [one["crops"] for one in shown["stats"]["recognizers"]] == [40, 7]


def test_metrics_leave_out_what_is_not_there(tmp_path: Path) -> None:
    """On a machine without an NPU there is no load of 0, and before the run there is no rate."""
    with view_on(sysroot=tmp_path) as view:
        text = get(view, "/metrics")[2]
    assert b"npu_load" not in text
    assert b"frames_per_second" not in text
    assert b"rkdeploy_healthy 1.0" in text


def test_healthz_follows_the_frames() -> None:
    """200 while frames come, 503 when none has come for a while, 200 again with the next one."""
    with view_on(healthy_within_s=0.3) as view:
        assert get(view, "/healthz")[0] == 200  # it has just begun
        wait_until(lambda: get(view, "/healthz")[0] == 503)

        def one_more() -> bool:
            view.write(picture(1, 8), Detections.empty())
            return get(view, "/healthz")[0] == 200

        wait_until(one_more)


def test_other_addresses_and_methods() -> None:
    """Unknown paths are 404, read-only ones refuse POST, and a HEAD takes no seat."""
    with view_on() as view:
        assert get(view, "/../etc/passwd")[0] == 404
        assert get(view, "/docs")[0] == 404
        for request, line in (("POST /status", b"405"), ("HEAD /stream", b"200"), ("GARBAGE", b"400")):
            with socket.create_connection(("127.0.0.1", view.port), WAIT_S) as client:
                client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
                assert line in client.recv(100)
        assert view.app is not None
        assert view.app.viewers.taken == 0


def test_viewers_are_bounded() -> None:
    """The 33rd gets 503, and a seat that becomes free is given again."""
    with view_on() as view:
        view.write(picture(1), Detections.empty())
        app = view.app
        assert app is not None
        viewers = [silent_viewer(view) for _ in range(32)]
        wait_until(lambda: app.viewers.taken == 32)
        status, headers, _ = get(view, "/stream")
        assert (status, headers["retry-after"]) == (503, "5")
        assert get(view, "/status")[0] == 200
        viewers.pop().close()
        wait_until(lambda: app.viewers.taken == 31)
        with streaming(view, "/stream") as answer:
            assert answer.status == 200
        for viewer in viewers:
            viewer.close()
        wait_until(lambda: app.viewers.taken == 0)


def test_viewers_that_never_read_stop_nobody() -> None:
    """20 sockets full to the brim: the pipeline passes every frame, one that reads gets new ones, the page answers.

    That no write waits is not timed: writes that waited for any of them would never end.
    """
    options = JpegOptions(max_per_second=200)
    with view_on(options=options) as view:
        app = view.app
        assert app is not None
        viewers = [silent_viewer(view) for _ in range(20)]
        wait_until(lambda: app.viewers.taken == 20)
        with streaming(view, "/stream") as answer:
            view.write(picture(0, 480), Detections.empty())
            shown = parts(answer)
            for i in range(1, 60):
                next(shown)
                view.write(picture(i, 480), one_box())
        assert get(view, "/status")[0] == 200
        source = StandInSource([grey_frame(i) for i in range(500)])
        with source as frames:
            pipeline = Pipeline(source, frames, [StandInRuntime()], SPEC, THRESHOLDS, [view])
            with pipeline:
                view.watch(pipeline.stats, lambda: "a stand-in")
                assert pipeline.wait(WAIT_S)
        assert pipeline.stats().processed == 500
        assert view._frame_buffer.number() == 560
        assert app.viewers.taken == 20
        begun = time.monotonic()
    assert time.monotonic() - begun < 5, "leaving waits for viewers that do not read"
    for viewer in viewers:
        viewer.close()


def test_a_viewer_that_takes_nothing_for_a_while_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seat becomes free; one that sends no request at all is left, too."""
    monkeypatch.setattr("rkdeploy.device.web.connection._STUCK_S", 0.2)
    monkeypatch.setattr("rkdeploy.device.web.connection._REQUEST_WITHIN_S", 0.2)
    with view_on(options=JpegOptions(max_per_second=200)) as view:
        app = view.app
        assert app is not None
        viewer = silent_viewer(view)
        wait_until(lambda: app.viewers.taken == 1)

        def one_more() -> bool:
            view.write(picture(view._frame_buffer.number(), 480), Detections.empty())
            return app.viewers.taken == 0

        wait_until(one_more)
        viewer.close()
        with socket.create_connection(("127.0.0.1", view.port), WAIT_S) as client:
            assert client.recv(1) == b""


def test_a_second_request_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answered request, then half of another, or a body that never comes: cut off like a first half."""
    monkeypatch.setattr("rkdeploy.device.web.connection._REQUEST_WITHIN_S", 0.3)
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with view_on() as view:
        for begun in (asked + b"\r\n" + asked + b"X-", asked + b"Content-Length: 9\r\n\r\n123"):
            with socket.create_connection(("127.0.0.1", view.port), WAIT_S) as client:
                client.sendall(begun)
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
                assert ended(client)


def test_a_trickle_does_not_move_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte of a header now and then keeps no connection."""
    monkeypatch.setattr("rkdeploy.device.web.connection._REQUEST_WITHIN_S", 0.5)
    with view_on() as view, socket.create_connection(("127.0.0.1", view.port), WAIT_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX-")
        begun = time.monotonic()
        with pytest.raises(ConnectionError):
            trickle(client)
        assert time.monotonic() - begun < WAIT_S


def trickle(client: socket.socket) -> None:
    """A byte every 50 ms for as long as they are taken."""
    for _ in range(round(WAIT_S / 0.05)):
        client.sendall(b"a")
        time.sleep(0.05)


def test_held_connections_keep_nobody_out() -> None:
    """200 strangers with half a request each, second or first: a viewer is answered at once, and so is the next one."""
    whole = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with view_on() as view:
        held = []
        for number in range(200):
            client = socket.create_connection(("127.0.0.1", view.port), WAIT_S)
            client.sendall((whole if number % 2 else b"") + b"GET / HTTP/1.1\r\nX-")
            held.append(client)
        with streaming(view, "/stream") as answer:
            assert answer.status == 200
            for _ in range(3):
                assert get(view, "/status")[0] == 200
        for client in held:
            client.close()


def test_strangers_keep_no_connection() -> None:
    """An answer without the token is the connection's last."""
    with view_on(token="a-long-enough-token") as view:
        status, headers, _ = get(view, "/status")
        assert (status, headers["connection"]) == (401, "close")


def ended(client: socket.socket) -> bool:
    """True if the other side ends the connection, after any data that it still sends."""
    client.settimeout(WAIT_S)
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def test_leaving_ends_open_streams_and_frees_the_port() -> None:
    """Viewers see the end of their streams, no thread stays, and the port can be taken again at once."""
    with view_on() as view:
        port = view.port
        view.write(picture(1), Detections.empty())
        with streaming(view, "/stream") as stream, streaming(view, "/detections") as events:
            next(parts(stream))
            view.__exit__(None, None, None)
            assert stream.read().endswith(b"--rkdeploy-frame\r\n")
            assert events.read().startswith(b"retry")
    assert not threads()
    with view_on(f"127.0.0.1:{port}") as again:
        assert get(again, "/")[0] == 200


def test_a_port_in_use_is_one_clear_error() -> None:
    """The error names the address, the reason and a hint; nothing is left running."""
    with view_on() as view:
        with pytest.raises(RkdeployError, match=r"in use.*--web 127.0.0.1:0"), view_on(f"127.0.0.1:{view.port}"):
            pass
        assert get(view, "/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command(number: signal.Signals, tmp_path: Path) -> None:
    """`run --web` says where it listens, serves while it runs, and a signal ends both at once."""
    cv2 = pytest.importorskip("cv2")
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for i in range(3000):
        writer.write(np.full((48, 64, 3), i % 200, np.uint8))
    writer.release()
    arguments = ["run", "x.rknn", str(video), "--backend", "onnxruntime", "--web-address", ":0"]
    with subprocess.Popen(
        [sys.executable, *RUN_SCRIPT, "10", "-", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"Live view: http://127\.0\.0\.1:(\d+)/\n", line)
        assert found, line + process.stderr.read()
        with socket.create_connection(("127.0.0.1", int(found[1])), WAIT_S) as client:
            client.sendall(b"GET /detections HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stream = client.makefile("rb")
            event = next(text for text in stream if text.startswith(b"data: "))
            assert json.loads(event[6:])["detections"][0]["class_name"] == "value 7"
            process.send_signal(number)
            _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr


def test_an_open_address_without_a_token_ends_the_command(tmp_path: Path) -> None:
    """Exit code 1 and one message, before anything runs."""
    (tmp_path / "x.txt").write_text("")
    source = Path(__file__).parents[3] / "calib_data" / "images" / "val"
    arguments = ["run", "x.rknn", str(source), "--backend", "onnxruntime", "--web-address", "0.0.0.0:0"]
    result = subprocess.run(
        [sys.executable, *RUN_SCRIPT, "0", "-", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("error:") == 1
    assert "RKDEPLOY_WEB_TOKEN" in result.stderr
