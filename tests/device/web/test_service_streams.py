"""The service of a board with several streams: the unit's command with the example of run.conf, and its page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.device.web.browser import CHROMIUM, open_browser
from tests.device.web.live_view import wait_until
from tests.device.web.mjpeg_cameras import mjpeg_cameras

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
BOARD = ROOT / "board"
TOKEN = "correct-horse-battery"
NAMES = ("gate", "yard", "hall")


def example_of(variable: str, having: str) -> str:
    """The commented line of run.conf that sets a variable to something with that word."""
    lines = (BOARD / "run.conf").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"# {variable}=") and having in line]
    return found.partition("=")[2].strip('"')


def command_of_unit() -> list[str]:
    """Words behind the program's path, as systemd splits them; the variable stays."""
    unit = (BOARD / "rkdeploy.service").read_text()
    (line,) = re.findall(r"^ExecStart=/opt/rkdeploy/bin/rkdeploy (.*)$", unit, re.MULTILINE)
    assert "EnvironmentFile=/etc/rkdeploy/run.conf" in unit
    return str(line).split()


@contextmanager
def service(tmp_path: Path, addresses: dict[str, str]) -> Iterator[str]:
    """The service under a stand-in network, from the example with another place and port; its page's address."""
    (tmp_path / "line.streams").write_text("".join(f"{name} = {url}\n" for name, url in addresses.items()))
    arguments = example_of("RKDEPLOY_RUN_ARGS", ".streams")
    arguments = arguments.replace("/etc/rkdeploy", str(tmp_path)).replace(":8080", ":0")
    words = [part for word in command_of_unit() for part in (arguments.split() if word.startswith("$") else [word])]
    assert example_of("RKDEPLOY_WEB_TOKEN", "...")
    (tmp_path / "home" / "bundles" / "best").mkdir(parents=True)
    (tmp_path / "home" / "current").symlink_to("bundles/best")
    (tmp_path / "output").mkdir()
    environment = {
        **os.environ, "RKDEPLOY_HOME": str(tmp_path / "home"), "RKDEPLOY_WEB_TOKEN": TOKEN, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with (
        (tmp_path / "lines.jsonl").open("wb") as lines,
        subprocess.Popen(
            [sys.executable, "-m", "tests.cli.run_with_stand_ins", "5", "-", *words],
            cwd=tmp_path / "output", env=environment, stdout=lines, stderr=subprocess.PIPE, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stderr is not None
        told = ""
        while not (found := re.search(r"Live view: http://[^:]+:(\d+)/", told)):
            line = process.stderr.readline()
            assert line, told
            told += line
        yield f"http://127.0.0.1:{found[1]}/"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 143, told + rest
    for name in addresses:
        assert re.search(rf"^{name}: \d+ frames", rest, re.MULTILINE), rest


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: bash tests/needs.sh")
def test_a_service_of_several_streams_shows_a_grid(tmp_path: Path) -> None:
    """All streams of the file run under their names, in the grid, the metrics and the lines of the journal."""
    with (
        mjpeg_cameras(NAMES) as addresses,
        service(tmp_path, addresses) as url,
        open_browser(tmp_path / "profile") as page,
    ):
        page.set_size(1280, 800)
        page.call("Page.navigate", url=f"{url}?token={TOKEN}")
        shown = "[...document.querySelectorAll('.stream')].map(one => one.querySelector('canvas').width)"
        wait_until(lambda: page.evaluate(shown) == [160] * 3)
        names = "[...document.querySelectorAll('.stream h2')].map(one => one.innerText)"
        assert page.evaluate(names) == list(NAMES)
        wait_until(lambda: page.evaluate("document.getElementById('health').innerText") == "Live")
        request = urllib.request.Request(urllib.parse.urljoin(url, "metrics"))
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            metrics = answer.read().decode()
        for name in NAMES:
            assert float(re.findall(rf'stream_frames_processed_total{{stream="{name}"}} (\S+)', metrics)[0]) > 0
    found = {re.findall(r'"source": "(\w+)"', line)[0] for line in (tmp_path / "lines.jsonl").read_text().splitlines()}
    assert found == set(NAMES)
