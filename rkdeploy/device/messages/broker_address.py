"""Address of an MQTT broker."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from rkdeploy.errors import RkdeployError

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_FORM: Final = "Write it as mqtt://HOST, or mqtt://USER:PASSWORD@HOST:1883/TOPIC; mqtts:// for TLS."


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker, the user at it, and the first levels of the topics.

    Attributes:
        host, port: of the broker.
        tls: whether the connection is encrypted and the broker's certificate checked.
        user, password: None for a broker that asks for none.
        topic: first levels of all topics, without a slash at its ends.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    topic: str

    @property
    def text(self) -> str:
        """The address for messages, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def broker_address(text: str) -> BrokerAddress:
    """Read an address; the topic is `rkdeploy/` and this machine's name where it has none.

    Raises:
        RkdeployError: for another form; the message does not repeat it, since it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise RkdeployError(f"The address of --mqtt is not valid: {error}.", _FORM) from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise RkdeployError("The address of --mqtt is not that of an MQTT broker.", _FORM)
    topic = unquote(parts.path).strip("/") or f"rkdeploy/{topic_level(socket.gethostname())}"
    if re.search(r"[+#\x00-\x1f]|//", topic) or len(topic.encode()) > 200:
        raise RkdeployError(
            f'"{topic}" cannot be the topic of messages.', "A topic has words with / between, without + and #."
        )
    return BrokerAddress(
        parts.hostname,
        port or _PORTS[parts.scheme],
        parts.scheme == "mqtts",
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
        topic,
    )


def topic_level(text: str) -> str:
    """A name as one level of a topic: ASCII letters, digits, `.`, `-` and `_`; at most 60 of them."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", re.sub(r"^[a-z]+://", "", text)).strip("_")[:60] or "stream"


def topic_levels(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of several streams as levels of a topic, each different from the others."""
    found: list[str] = []
    for text in texts:
        level, number = topic_level(text), 1
        while level in found:
            number += 1
            level = f"{topic_level(text)}_{number}"
        found.append(level)
    return tuple(found)
