"""Stream addresses without their passwords, for messages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

STREAM_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})

# Greedy up to the last @ before the path: an @ in a password is rarely escaped.
_USER = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/?#\s]*@")
# An unescaped / in a password ends the host part early: the apparent path then ends in @ and a host.
_USER_WITH_SLASH = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/?#]*:[^\s]*@(?=[\w.\[\]:-]+(?:[/?#]|$))")
# Some cameras take passwords in the path: /user=admin_password=secret_channel=1.sdp
_SECRET = re.compile(
    r"(?i)(\b|[_?&;])((?:pass(?:word|wd|phrase)?|pwd|psw|secret|token|auth|api_?key|user(?:name)?|usr)=)[^&;/#\s]*?"
    r"(?=$|[&;/#\s\"']|_[a-z]+=)"
)


def redacted(text: str) -> str:
    """The text with `user:password@` of every address, and values of parameters like `password=`, replaced by `***`."""
    text = _USER_WITH_SLASH.sub(r"\1***@", _USER.sub(r"\1***@", text))
    return _SECRET.sub(r"\1\2***", text)


def is_stream_address(text: str) -> bool:
    """True for the address of a network stream, False for a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.strip().lower() in STREAM_SCHEMES


def host_and_port(url: str) -> str:
    """`host:port` for messages; empty when the address has none."""
    try:
        host, port = urlsplit(url).hostname or "", urlsplit(url).port
    except ValueError:
        return ""
    return f"{host}:{port}" if port else host
