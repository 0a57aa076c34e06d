"""Access control of the web view.

Without a token it answers this machine alone, under this machine's names: a page of a foreign site whose name
resolves to 127.0.0.1 (DNS rebinding) arrives with that name and is refused.  With a token every viewer needs it, this
machine too: as `Authorization: Bearer`, or once as `?token=` in the address, which sets a cookie and removes the token
from the address.  The cookie holds an HMAC, not the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

from rkdeploy.device.web.listening_address import host_of_header, is_loopback
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rkdeploy.device.web.listening_address import Address

COOKIE = "rkdeploy_web"
_MIN_TOKEN = 12
_COOKIE_MAX_AGE_S = 30 * 24 * 3600
_COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def require_token(address: Address, token: str | None) -> None:
    """Check that an address has the token that it needs, and that the token is valid.

    Raises:
        RkdeployError: otherwise; the message never contains the token.
    """
    make_one = "Make one with: openssl rand -hex 16"
    if token is None:
        if not address.loopback:
            raise RkdeployError(
                f'--web "{address}" can be reached from other machines and needs a token, expected --web-token or the '
                "environment variable RKDEPLOY_WEB_TOKEN.",
                f"{make_one}. Without one it listens on loopback only, to be reached through: "
                "ssh -L 8080:127.0.0.1:8080 BOARD",
            )
    elif len(token) < _MIN_TOKEN or not re.fullmatch(r"[!-~]+", token):
        raise RkdeployError(
            f"The web token has {len(token)} characters, expected at least {_MIN_TOKEN}, of printable ASCII without "
            "spaces.",
            f"{make_one}.",
        )


class Access:
    """Wrapper of the application that refuses unauthorized requests, and adds the common headers to every response.

    Args:
        app: the application.
        token: accepted by `require_token`; None to serve this machine only.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token
        self._cookie = None if token is None else hmac.new(token.encode(), b"rkdeploy web", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _COMMON_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._token is None:
            peer = scope.get("client")
            if peer is None or not is_loopback(peer[0]):
                return _text(401, "This view answers its own machine only; from others it needs --web-token.")
            host = host_of_header(headers.get("host", ""))
            if host is None or not is_loopback(host):
                return _text(421, "This view answers to localhost only. Open it as http://127.0.0.1 with its port.")
            # another site's page must not even cause an encode
            if headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
                headers.get("sec-fetch-mode") != "navigate" or headers.get("sec-fetch-dest") != "document"
            ):
                return _text(403, "Other sites may not embed this view.")
            return None
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        assert self._cookie is not None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given:
            if len(given) == 1 and _same(given[0], self._token):
                return self._welcome(scope["path"], [pair for pair in query if pair[0] != "token"])
        else:
            scheme, _, bearer = headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer" and _same(bearer.strip(), self._token):
                return None
            if _same(_cookie_in(headers.get("cookie", "")), self._cookie):
                return None
        refusal = _text(
            401,
            "This view needs its token, once as ?token=... in the address of its page, or with every request as "
            '"Authorization: Bearer ...".',
        )
        refusal.headers["WWW-Authenticate"] = 'Bearer realm="rkdeploy"'
        return refusal

    def _welcome(self, path: str, query: list[tuple[str, str]]) -> Response:
        # a path that begins with two slashes would lead to another host
        target = "/" + path.lstrip("/\\") + (f"?{urlencode(query)}" if query else "")
        response = RedirectResponse(target, 303)
        assert self._cookie is not None
        # Lax: the link may be opened from a mail or chat; all requests only read
        response.set_cookie(COOKIE, self._cookie, max_age=_COOKIE_MAX_AGE_S, path="/", httponly=True, samesite="lax")
        return response


def _cookie_in(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status, headers={"Connection": "close"})  # refused clients keep no connection
