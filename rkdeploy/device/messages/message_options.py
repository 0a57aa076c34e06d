"""Options of messages.  Light: the help needs neither a client nor numpy for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rkdeploy.option import MESSAGES, Option


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """Receivers of results.

    Attributes:
        mqtt: address of a broker; None for none.
        mqtt_every_s: least seconds between two messages of a stream.
        mqtt_discovery: whether the sensors are announced to Home Assistant.
        webhook: address that results are posted to; None for none.
        webhook_every_s: least seconds between two posts of a stream.
    """

    mqtt: Annotated[
        str | None,
        Option(
            "--mqtt",
            "Send results to an MQTT broker: mqtt://[USER:PASSWORD@]HOST[:PORT][/TOPIC], mqtts:// with TLS. Others "
            "see a command's arguments: set the environment variable where the address holds a password.",
            MESSAGES,
            metavar="ADDRESS",
            env="RKDEPLOY_MQTT",
        ),
    ] = None
    mqtt_every_s: Annotated[
        float,
        Option("--mqtt-every", "Least seconds between two messages of a stream.", MESSAGES, low=0, high=86400),
    ] = 1.0
    mqtt_discovery: Annotated[
        bool, Option("--mqtt-discovery", "Announce sensors to Home Assistant by MQTT discovery.", MESSAGES)
    ] = False
    webhook: Annotated[
        str | None,
        Option(
            "--webhook",
            "Post results with detections to a web address, as JSON. Repeated until it answers.",
            MESSAGES,
            metavar="ADDRESS",
            env="RKDEPLOY_WEBHOOK",
        ),
    ] = None
    webhook_every_s: Annotated[
        float,
        Option("--webhook-every", "Least seconds between two posts of a stream.", MESSAGES, low=0, high=86400),
    ] = 1.0
