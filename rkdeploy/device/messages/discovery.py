"""Home Assistant's MQTT discovery: what sensors there are, as retained messages.

Topics and keys are those of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from rkdeploy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFIX: Final = "homeassistant"
MAX_CLASSES: Final = 20
"""Most classes that get a sensor each; of models with more there is the total alone."""


def discovery_messages(
    topic: str, streams: Sequence[tuple[str, str]], class_names: Sequence[str], title: str
) -> Iterator[tuple[str, str]]:
    """(topic, payload) of each sensor: of every stream whether it sees anything, how many, and how many of each class.

    Args:
        topic: first levels of the topics of results.
        streams: of each its level of the topics and its name.
        class_names: of the contract.
        title: name of the device.
    """
    node = re.sub(r"[^A-Za-z0-9_-]+", "_", topic)
    device = {"identifiers": [node], "name": title, "manufacturer": "rkdeploy", "sw_version": __version__}
    for level, name in streams:
        prefix = f"{name}: " if len(streams) > 1 else ""
        base = {
            "state_topic": f"{topic}/{level}/counts",
            "availability_topic": f"{topic}/status",
            "device": device,
        }
        occupied = {
            **base,
            "name": f"{prefix}occupied",
            "device_class": "occupancy",
            "value_template": "{{ value_json.total > 0 }}",
            "payload_on": "True",
            "payload_off": "False",
        }
        yield _message("binary_sensor", f"{node}_{level}_occupied", occupied)
        counted = [("objects", "{{ value_json.total }}"), *_class_templates(class_names)]
        for number, (what, template) in enumerate(counted):
            own = {**base, "name": f"{prefix}{what}", "value_template": template, "state_class": "measurement"}
            suffix = "objects" if number == 0 else f"class_{number - 1}"
            yield _message("sensor", f"{node}_{level}_{suffix}", own)


def _class_templates(class_names: Sequence[str]) -> list[tuple[str, str]]:
    if len(class_names) > MAX_CLASSES:
        return []
    return [
        (name, f"{{{{ value_json.classes.get({json.dumps(name, ensure_ascii=False)}, 0) }}}}") for name in class_names
    ]


def _message(component: str, unique_id: str, keys: dict[str, Any]) -> tuple[str, str]:
    object_id = re.sub(r"[^A-Za-z0-9_-]+", "_", unique_id)
    payload = {**keys, "unique_id": object_id}
    return f"{PREFIX}/{component}/{object_id}/config", json.dumps(payload, ensure_ascii=False)
