"""Access control of the view."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from rkdeploy.device.web import open_web_view
from rkdeploy.device.web.access import Access
from rkdeploy.errors import RkdeployError
from tests.device.web.live_view import get, view_on

TOKEN = "correct-horse-battery"


def ask(token: str | None, path: str = "/", peer: str = "127.0.0.1", query: str = "", **headers: str) -> Any:
    """The status and headers that one request gets."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    given = {"host": "127.0.0.1:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(), "client": (peer, 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(Access(PlainTextResponse("in"), token)(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9", "LocalHost:1"])
def test_this_machine_needs_no_token(host: str) -> None:
    """Without a token, loopback under a loopback name is let in, whatever port it was forwarded to."""
    assert ask(None, host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "192.0.2.1", "127.0.0.1.evil.example", ""])
def test_rebound_names_are_refused(host: str) -> None:
    """A foreign name that resolves to 127.0.0.1 is not accepted."""
    assert ask(None, host=host)[0] == 421


def test_other_machines_are_refused_without_a_token() -> None:
    """Even if a connection from elsewhere arrives, the answer is 401."""
    assert ask(None, peer="192.0.2.7")[0] == 401


def test_other_sites_may_not_embed_it() -> None:
    """An <img> or <iframe> of another site gets nothing; a link to the page works."""
    assert ask(None, "/stream", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert ask(None, sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe")[0] == 403
    assert ask(None, sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document")[0] == 200


@pytest.mark.parametrize("peer", ["192.0.2.7", "127.0.0.1"])
def test_with_a_token_everybody_needs_it(peer: str) -> None:
    """No token, a wrong one, a longer one, a wrong cookie, or the token as cookie: 401, also from this machine."""
    wrong: list[dict[str, str]] = [
        {}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer ünïcode"},
        {"cookie": f"rkdeploy_web={TOKEN}"}, {"cookie": ";;="}, {"cookie": "rkdeploy_web="},
    ]  # fmt: skip
    for headers in wrong:
        status, answered = ask(TOKEN, peer=peer, **headers)
        assert status == 401, headers
        assert answered["www-authenticate"].startswith("Bearer")
        assert "set-cookie" not in answered
    for query in ("token=wrong", "token=", f"token={TOKEN}&token=x"):
        assert ask(TOKEN, peer=peer, query=query)[0] == 401


def test_bearer() -> None:
    """The token in the header lets in, from anywhere and under any name."""
    assert ask(TOKEN, peer="192.0.2.7", host="board.local", authorization=f"Bearer {TOKEN}")[0] == 200


def test_the_token_in_the_address_becomes_a_cookie() -> None:
    """It is taken out of the address, and what stays in the browser is not the token."""
    status, headers = ask(TOKEN, "/stream", peer="192.0.2.7", query=f"a=1&token={TOKEN}")
    assert (status, headers["location"]) == (303, "/stream?a=1")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert ask(TOKEN, peer="192.0.2.7", cookie=cookie.partition(";")[0])[0] == 200
    assert ask("another-token-here", peer="192.0.2.7", cookie=cookie.partition(";")[0])[0] == 401
    assert ask(TOKEN, "//evil.example/", query=f"token={TOKEN}")[1]["location"] == "/evil.example/"


def test_every_answer_is_closed_off() -> None:
    """Refusals too carry the headers that keep other sites and caches away."""
    for token in (None, TOKEN):
        headers = ask(token, host="evil.example")[1]
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_an_open_address_without_a_token_is_an_error() -> None:
    """It says what is missing and how to do without; a short token is refused, and never printed."""
    with pytest.raises(RkdeployError, match="RKDEPLOY_WEB_TOKEN"):
        open_web_view("0.0.0.0:0", None, ())
    with pytest.raises(RkdeployError, match="RKDEPLOY_WEB_TOKEN"):
        open_web_view("0.0.0.0:0", "", ())
    for bad in ("short", "with space in the middle", "ümlauts-are-not-ascii"):
        with pytest.raises(RkdeployError, match="at least 12") as caught:
            open_web_view("0.0.0.0:0", bad, ())
        assert bad not in str(caught.value)


def own_address() -> str | None:
    """An address of this machine that is not the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))  # sends nothing
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


def test_on_all_networks(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Over a real address of this machine: 401 without the token, 200 with it, and it is in no log."""
    caplog.set_level(logging.DEBUG)
    host = own_address()
    if host is None:
        pytest.skip("this machine has no address but the loopback; the other tests fake the peer")
    with view_on("0.0.0.0:0", TOKEN) as view:
        for path in ("/", "/stream", "/detections", "/status", "/metrics", "/healthz", "/none"):
            assert get(view, path, host=host)[0] == 401
        assert get(view, "/", {"Authorization": f"Bearer {TOKEN}"}, host=host)[0] == 200
        assert get(view, f"/?token={TOKEN}", host=host)[0] == 303
        assert TOKEN not in view.url
    captured = capfd.readouterr()
    assert TOKEN not in captured.out + captured.err + caplog.text
