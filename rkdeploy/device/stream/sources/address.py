"""Stream addresses as they may be shown: without the passwords in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

STREAM_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})

# Greedy up to the last @ before the path: passwords hold @ more often than they are escaped.
_USER = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/?#\s]*@")
# An unescaped / in a password ends the host's part early: what then looks like a path still ends in @ and a host.
_USER_WITH_SLASH = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/?#]*:[^\s]*@(?=[\w.\[\]:-]+(?:[/?#]|$))")
# Cameras take them in the path as well: /user=admin_password=secret_channel=1.sdp
_SECRET = re.compile(
    r"(?i)(\b|[_?&;])((?:pass(?:word|wd|phrase)?|pwd|psw|secret|token|auth|api_?key|user(?:name)?|usr)=)[^&;/#\s]*?"
    r"(?=$|[&;/#\s\"']|_[a-z]+=)"
)


def redacted(text: str) -> str:
    """The text with `user:password@` of every address, and values of parameters like `password=`, as `***`."""
    text = _USER_WITH_SLASH.sub(r"\1***@", _USER.sub(r"\1***@", text))
    return _SECRET.sub(r"\1\2***", text)


def is_stream_address(text: str) -> bool:
    """Whether a text is the address of a network stream, not a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.strip().lower() in STREAM_SCHEMES


def host_and_port(url: str) -> str:
    """`host:port` for messages; empty when the address has none."""
    try:
        host, port = urlsplit(url).hostname or "", urlsplit(url).port
    except ValueError:
        return ""
    return f"{host}:{port}" if port else host
