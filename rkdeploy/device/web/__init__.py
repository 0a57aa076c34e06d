"""A live view of a running pipeline in the browser, for scripts and for Prometheus.

Its packages (Starlette, uvicorn, prometheus_client: pure Python, a few MB) are only imported when a view is requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.device.web.view import WebView

_PACKAGES = frozenset({"starlette", "uvicorn", "anyio", "h11", "prometheus_client"})


def open_web_view(
    address: str,
    token: str | None,
    class_names: Sequence[str],
    *,
    title: str = "",
    source: str = "",
    streams: Sequence[str] = (),
    notify: Callable[[str], None] | None = None,
) -> WebView:
    """The sink for `--web`; it listens when it is entered.

    Args:
        address: as `parse_address` reads it.
        token: token that viewers need; None or empty to serve this machine only.
        class_names: of the contract.
        title: name of what runs, for the page.
        source: its source, without passwords.
        streams: names of the streams to show side by side; see `WebView`.
        notify: called with a sentence when the view ends before the run does.

    Raises:
        RkdeployError: when a package is missing, the address is invalid, or it needs a token and has none.
    """
    from rkdeploy.device.web.listening_address import parse_address

    where = parse_address(address)
    try:
        from rkdeploy.device.web.access import require_token
        from rkdeploy.device.web.view import WebView
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise RkdeployError(
            f'--web needs the package "{error.name}", which is not installed here.',
            'Install it with: pip install "rkdeploy[web]"',
        ) from error
    require_token(where, token or None)
    return WebView(where, token or None, class_names, title=title, source=source, streams=streams, notify=notify)
