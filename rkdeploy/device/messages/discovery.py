"""Home Assistant's MQTT discovery: what sensors there are, as retained messages.

Topics and keys are those of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rkdeploy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rkdeploy.device.tracking.areas import Area

PREFIX: Final = "homeassistant"
MAX_CLASSES: Final = 20
"""Most classes that get a sensor each; where more are wanted there is the total alone."""


def discovery_messages(
    topic: str,
    streams: Sequence[tuple[str, str]],
    class_names: Sequence[str],
    title: str,
    areas: Sequence[Area] = (),
    wanted: Sequence[int] | None = None,
) -> Iterator[tuple[str, str]]:
    """(topic, payload) of each sensor.

    Of every stream whether it sees anything, how many objects, and how many of each class; the crossings of each of its
    lines in and out, and of each of its zones whether there is a track inside, and how many.

    Args:
        topic: first levels of the topics of results.
        streams: of each its level of the topics and its name.
        class_names: of the contract.
        title: name of the device.
        areas: lines and zones.
        wanted: ids of the classes that there can be results of; None for all.
    """
    classes = range(len(class_names)) if wanted is None else wanted
    named = [(class_id, class_names[class_id]) for class_id in classes]
    node = re.sub(r"[^A-Za-z0-9_-]+", "_", topic)
    device = {"identifiers": [node], "name": title, "manufacturer": "rkdeploy", "sw_version": __version__}
    for level, name in streams:
        prefix = f"{name}: " if len(streams) > 1 else ""
        base = {
            "state_topic": f"{topic}/{level}/counts",
            "availability_topic": f"{topic}/status",
            "device": device,
        }
        sensors = (
            _occupancy("occupied", "occupied", "value_json.total"),
            _Sensor("objects", "objects", "value_json.total"),
            *_class_sensors(named),
            *_area_sensors([area for area in areas if area.source in ("", name)]),
        )
        for one in sensors:
            keys = {**base, "name": f"{prefix}{one.name}", "value_template": f"{{{{ {one.value} }}}}", **one.keys}
            yield _message(one.component, f"{node}_{level}_{one.suffix}", keys)


_MEASURED: Final = {"state_class": "measurement"}
_COUNTED: Final = {"state_class": "total_increasing"}
_OCCUPIED: Final = {"device_class": "occupancy", "payload_on": "True", "payload_off": "False"}


@dataclass(frozen=True, slots=True)
class _Sensor:
    """A sensor.

    Attributes:
        suffix: end of its id.
        name: for users.
        value: its value, an expression of Jinja over `value_json`.
        keys: further keys of its message.
        component: of Home Assistant.
    """

    suffix: str
    name: str
    value: str
    keys: Mapping[str, str] = field(default_factory=lambda: _MEASURED)
    component: str = "sensor"


def _occupancy(suffix: str, name: str, count: str) -> _Sensor:
    return _Sensor(suffix, name, f"{count} > 0", _OCCUPIED, "binary_sensor")


def _class_sensors(classes: Sequence[tuple[int, str]]) -> list[_Sensor]:
    if len(classes) > MAX_CLASSES:
        return []
    return [
        _Sensor(f"class_{class_id}", name, f"value_json.classes.get({_quoted(name)}, 0)") for class_id, name in classes
    ]


def _area_sensors(areas: Sequence[Area]) -> list[_Sensor]:
    sensors = []
    for number, area in enumerate(areas):
        counts = f"value_json.{'lines' if area.is_line else 'zones'}[{_quoted(area.name)}]"
        if area.is_line:
            sensors += [
                _Sensor(f"line_{number}_{way}", f"{area.name} {way}", f'{counts}["{way}"]', _COUNTED)
                for way in ("in", "out")
            ]
        else:
            inside = f"{counts}.inside"
            sensors += [
                _occupancy(f"zone_{number}_occupied", f"{area.name} occupied", inside),
                _Sensor(f"zone_{number}_objects", f"{area.name} objects", inside),
            ]
    return sensors


def _quoted(name: str) -> str:
    """A name as a string of Jinja."""
    return json.dumps(name, ensure_ascii=False)


def _message(component: str, unique_id: str, keys: dict[str, Any]) -> tuple[str, str]:
    object_id = re.sub(r"[^A-Za-z0-9_-]+", "_", unique_id)
    payload = {**keys, "unique_id": object_id}
    return f"{PREFIX}/{component}/{object_id}/config", json.dumps(payload, ensure_ascii=False)
