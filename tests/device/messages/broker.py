"""A real MQTT broker on a port of this machine, and a client that keeps what it receives."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from typing_extensions import Self

PATIENCE_S = 20.0


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: when it does not within 20 s.
    """
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


class Broker:
    """mosquitto.

    Args:
        program: path of mosquitto.
        folder: for the configuration.
        lines: of the configuration, after the port.
    """

    def __init__(self, program: str, folder: Path, lines: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\n{lines}\n")
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens, "the broker listens")

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """A client that keeps the last payload of each topic, and all of them in order."""

    def __init__(self, port: int, topic: str = "#") -> None:
        self.last: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._keep
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        until(self._client.is_connected, "the listener is connected")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _keep(self, _client: Any, _data: Any, message: Any) -> None:
        self.last[message.topic] = message.payload.decode()
        self.all.append((message.topic, message.payload.decode()))
