"""Listening address of the web view, and the loopback test."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from rkdeploy.errors import RkdeployError

DEFAULT_ADDRESS = "127.0.0.1:8080"
_LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port to listen on.

    Attributes:
        host: an IP address or a name, without brackets.
        port: 0 for any free one.
    """

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if only this machine reaches it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `:8080` or `8080` (on loopback), `0.0.0.0` (port 8080).

    Raises:
        RkdeployError: for anything else.
    """
    default_host, _, default_port = DEFAULT_ADDRESS.partition(":")
    if re.fullmatch(r":?\d{1,5}", text):
        host, port = default_host, int(text.lstrip(":"))
    elif found := _HOST.fullmatch(text):
        host, port = found["host"].strip("[]"), int(found["port"] or default_port)
    else:
        port = -1
        host = ""
    if not 0 <= port <= 65535:
        raise RkdeployError(
            f'--web "{text}" is not an address, expected HOST:PORT with a port from 0 to 65535.',
            f"The default is {DEFAULT_ADDRESS}; 0.0.0.0:8080 listens on all networks and needs a token.",
        )
    return Address(host, port)


def is_loopback(host: str) -> bool:
    """True if an IP address or name is this machine's loopback.  Other names are not resolved: they count as not
    loopback.
    """
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def host_of_header(value: str) -> str | None:
    """The host in a `Host` header, without port and brackets; None when it is malformed."""
    found = _HOST.fullmatch(value)
    return found["host"].strip("[]") if found else None
