"""Listening address of the view, a --web without a value, and the message for a missing package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rkdeploy.device.web.listening_address import host_of_header, is_loopback, parse_address
from rkdeploy.errors import RkdeployError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("8081", "127.0.0.1", 8081, True),
        (":0", "127.0.0.1", 0, True),
        ("localhost", "localhost", 8080, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("board.local:9000", "board.local", 9000, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    """Every form that the documentation names, and whether other machines reach it."""
    address = parse_address(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)


@pytest.mark.parametrize("text", ["", "host:port", "1.2.3.4:65536", "::1", "http://localhost:80", "a b:1", "x:1/y"])
def test_no_address(text: str) -> None:
    """Anything else is refused with what was expected."""
    with pytest.raises(RkdeployError, match="expected HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "::ffff:127.0.0.1", "LOCALHOST"])
def test_loopback(host: str) -> None:
    """All forms of this machine's own address."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "10.0.0.1", "", "::"])
def test_not_loopback(host: str) -> None:
    """Names that only look like it are not."""
    assert not is_loopback(host)


def test_host_header() -> None:
    """The host comes without its port; a malformed header has none."""
    assert host_of_header("localhost:8080") == "localhost"
    assert host_of_header("[::1]:8080") == "::1"
    assert host_of_header("localhost:8080, evil") is None
    assert host_of_header("") is None


def test_a_missing_package_names_the_command() -> None:
    """Without Starlette there is one sentence with the pip command, and no traceback."""
    code = (
        "import sys; sys.modules['starlette.datastructures'] = None\n"
        "import rkdeploy.cli.run\n"
        "from rkdeploy.device.web import open_web_view\n"
        "from rkdeploy.errors import RkdeployError\n"
        "try: open_web_view('8080', None, ())\n"
        "except RkdeployError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "rkdeploy[web]"' in result.stdout
