"""Results to an MQTT broker.

TOPIC/status                online or offline, retained; offline is the will, which the broker sends after a kill
TOPIC/STREAM/detections     the JSON line of a frame
TOPIC/STREAM/counts         {"time": ..., "total": 3, "classes": {"person": 2, "car": 1}}, retained; of a tracked run
                            also "lines": {"gate": {"in": 5, "out": 4}} and "zones": {"yard": {"inside": 1, ...}}
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from typing import TYPE_CHECKING, Any, Final

from rkdeploy.device.messages.broker_address import topic_levels
from rkdeploy.device.messages.discovery import discovery_messages
from rkdeploy.device.messages.newest_results import NewestResults, StreamResult
from rkdeploy.device.stream.track_json import place_totals
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.messages.broker_address import BrokerAddress
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.tracking.areas import Area

_LOG = logging.getLogger(__name__)
_KEEPALIVE_S: Final = 15
_CONNECT_S: Final = 3.0
_SEND_S: Final = 2.0
_RETRY_S: Final = (1, 30)
_END_S: Final = 5.0


class MqttSink:
    """Sends the newest result of each stream at a bounded rate, from a thread of its own.

    A broker that cannot be reached, is lost or reads nothing never holds the run: results are lost and counted, and the
    connection is tried again with growing pauses.

    Args:
        address: of the broker.
        streams: names of the sources, by `Frame.origin`.
        class_names: of the contract.
        title: name of the device for Home Assistant.
        every_s: least seconds between two messages of a stream.
        discovery: whether the sensors are announced to Home Assistant.
        areas: lines and zones that the results have counts of, which are announced too.
        wanted: ids of the classes that there can be results of; None for all.
        notify: called with one sentence when the broker is lost, and when it is back.

    Attributes:
        sent: results that were handed to the broker's connection.
        lost: results that were due while there was none.

    Raises:
        RkdeployError: when paho-mqtt is not installed.
    """

    def __init__(
        self,
        address: BrokerAddress,
        streams: tuple[str, ...],
        class_names: Sequence[str],
        *,
        title: str,
        every_s: float = 1.0,
        discovery: bool = False,
        areas: Sequence[Area] = (),
        wanted: Sequence[int] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._address, self._streams = address, streams
        self._levels = topic_levels(streams)
        self._class_names, self._title, self._discovery = tuple(class_names), title, discovery
        self._areas, self._wanted = tuple(areas), wanted
        self._notify = notify or (lambda _text: None)
        self._results = NewestResults(every_s)
        self._connected = threading.Event()
        self._was_connected = self._told = False
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._send_all, name="rkdeploy-mqtt", daemon=True)
        self.sent = self.lost = 0

    def __enter__(self) -> Self:
        self._client.connect_async(self._address.host, self._address.port, _KEEPALIVE_S)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.close()
        self._thread.join(_END_S)
        if self._connected.is_set():
            self._publish("status", "offline", keep=True)
        self._client.disconnect()
        self._client.loop_stop()
        if self.lost:
            self._notify(f"{self._address.text}: {self.sent} results sent, {self.lost} lost.")

    def write(self, frame: Frame, detections: Detections) -> None:
        """Leave a result to the sender's thread."""
        self._results.put(StreamResult.of(frame, detections))

    def _new_client(self) -> Any:
        try:
            from paho.mqtt import client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise RkdeployError(
                "--mqtt needs the package paho-mqtt.", "In a clone of rkdeploy: pip install '.[mqtt]'"
            ) from error
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"rkdeploy-{secrets.token_hex(4)}")
        client.connect_timeout = _CONNECT_S
        client.reconnect_delay_set(*_RETRY_S)
        client.will_set(f"{self._address.topic}/status", "offline", qos=1, retain=True)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set()
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell(f"{self._address.text} refuses the connection: {reason}.")
            return
        client.publish(f"{self._address.topic}/status", "online", qos=1, retain=True)
        if self._discovery:
            named = list(zip(self._levels, self._streams, strict=True))
            announced = discovery_messages(
                self._address.topic, named, self._class_names, self._title, self._areas, self._wanted
            )
            for topic, payload in announced:
                client.publish(topic, payload, qos=1, retain=True)
        if self._told:
            self._notify(f"{self._address.text}: connected.")
        self._told = False
        self._connected.set()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._tell(f"{self._address.text} cannot be reached; trying again.")

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected.is_set() and reason.is_failure:
            self._tell(f"{self._address.text}: the connection is lost ({reason}); trying again.")
        self._connected.clear()

    def _tell(self, text: str) -> None:
        """Say once that there is no connection."""
        _LOG.debug("%s", text)
        if not self._told:
            self._notify(text)
        self._told = True

    def _send_all(self) -> None:
        while (result := self._results.take()) is not None:
            if self._connected.is_set() and self._send(result):
                self.sent += 1
            else:
                self.lost += 1

    def _send(self, result: StreamResult) -> bool:
        """Send a result; False when the broker does not take it in time."""
        counts = result.counts(self._class_names)
        summary = {"time": result.captured.iso, "total": counts.total(), "classes": dict(counts)}
        tracks = result.detections.tracks
        if tracks is not None:
            summary |= place_totals(tracks)
        level = self._levels[result.origin]
        line = result.line(self._class_names)
        return self._publish(f"{level}/detections", line) and self._publish(
            f"{level}/counts", json.dumps(summary), keep=True
        )

    def _publish(self, topic: str, payload: str, *, keep: bool = False) -> bool:
        """Hand one message to the connection, and wait until it is written: nothing piles up behind a slow broker."""
        try:
            message = self._client.publish(f"{self._address.topic}/{topic}", payload, qos=0, retain=keep)
            message.wait_for_publish(_SEND_S)
        except (RuntimeError, ValueError) as error:  # not connected any more; a payload beyond 256 MB
            _LOG.debug("%s: %s", topic, error)
            return False
        return bool(message.is_published())
