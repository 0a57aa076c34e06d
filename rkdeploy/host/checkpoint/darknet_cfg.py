"""Parser of a darknet cfg, the text that describes the network of a state dict or of a `.weights`.

The dialects are that of YOLOR's main branch (utils/parse_config.py and models/models.py there) and darknet's own
(AlexeyAB/darknet, src/parser.c).  A cfg is read strictly: an unknown section or key is an error, because ignoring it
could change the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.darknet_sections import (
    ACTIVATIONS,
    ChannelOperation,
    Convolutional,
    DarknetCfg,
    Dialect,
    Implicit,
    Net,
    Plain,
    Pool,
    Route,
    Section,
    Shortcut,
    Upsample,
    Yolo,
)
from rkdeploy.system.text_file import TextFileError, decode_text

_MAX_BYTES = 1 << 20
_MAX_SECTIONS = 4096
_MAX_NUMBER = 1 << 16
_HINT = "Give the cfg file that the model was trained with."
_HEADER = re.compile(r"\[\s*(\w{1,40})\s*\]", re.ASCII)
_KEY = re.compile(r"\w{1,40}", re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,17})?|\.[0-9]{1,17}")
# Keys of [yolo] for losses, augmentation, tracking and suppression, which do not affect the network.
_TRAINING = frozenset(
    {
        *("num", "from", "jitter", "random", "resize", "ignore_thresh", "truth_thresh", "max", "focal_loss"),
        *("iou_loss", "iou_thresh", "iou_normalizer", "cls_normalizer", "obj_normalizer", "max_delta"),
        *("nms_kind", "beta_nms", "objectness_smooth", "label_smooth_eps", "counters_per_class"),
        *("delta_normalizer", "iou_thresh_kind", "uc_normalizer", "show_details", "track_history_size", "sim_thresh"),
        *("dets_for_track", "dets_for_show", "track_ciou_norm", "yolo_layer"),
    }
)
# Keys that any section of darknet may have, which count in training only.
_LAYER_TRAINING = frozenset(
    {
        *("stopbackward", "train_only_bn", "onlyforward", "dont_update", "burnin_update", "learning_rate", "clip"),
        *("grad_centr", "stream", "wait_stream", "dynamic_minibatch"),
    }
)
_DARKNET = frozenset(
    {
        *("convolutional", "route", "shortcut", "maxpool", "avgpool", "dropout", "upsample", "scale_channels", "sam"),
        "yolo",
    }
)
"""Sections of darknet's own dialect that are read."""
_SHORT = {"conv": "convolutional", "max": "maxpool", "avg": "avgpool"}
"""Darknet's other names of sections."""


def read_darknet_cfg(path: Path, dialect: Dialect = "pytorch") -> DarknetCfg:
    """Read a cfg file.

    Args:
        path: the file.
        dialect: `darknet` for a `.weights`, `pytorch` for a state dict.

    Raises:
        CheckpointError: no such file, not text, or not a cfg of this dialect; the message names the line.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f'"{path}" is a {"folder" if path.is_dir() else "device or pipe"}, expected a file.')
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f'Cannot read "{path}": {error.strerror or error}.') from error
    if len(data) > _MAX_BYTES:
        raise CheckpointError(f'"{path.name}" has more than {_MAX_BYTES} bytes; this is not a cfg.', _HINT)
    try:
        text = decode_text(data, path.name)
    except TextFileError as error:
        raise CheckpointError(f'"{path.name}" {error.reason}; this is not a cfg.', error.fix or _HINT) from error
    return parse_darknet_cfg(text, path.name, dialect)


def parse_darknet_cfg(text: str, name: str, dialect: Dialect = "pytorch") -> DarknetCfg:
    """Parse the text of a cfg; `name` is used in messages.

    Raises:
        CheckpointError: not a cfg of this dialect; the message names the line.
    """
    raws = _split(text, name, dialect)
    if not raws or raws[0].kind not in ("net", "network"):
        found = f"[{raws[0].kind}] in line {raws[0].line}" if raws else "no section at all"
        raise CheckpointError(f'"{name}" starts with {found}, expected [net].', _HINT)
    net = _net(raws[0])
    sections: list[Section] = []
    for raw in raws[1:]:
        read = _READERS.get(raw.kind) if dialect == "pytorch" or raw.kind in _DARKNET else None
        if read is None:
            raise raw.error(f"[{raw.kind}] is not a section that rkdeploy knows")
        section = read(raw, len(sections))
        raw.finish()
        sections.append(section)
    if not any(isinstance(s, Yolo) for s in sections):
        raise CheckpointError(f'"{name}" has no [yolo] section, expected one per level.', _HINT)
    return DarknetCfg(name, net, tuple(sections), dialect)


# ---------------------------------------------------------------------------------------------------------------------
# Text to keys and values
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Raw:
    """A section as text.  Reading a value removes it, so the rest at the end is unknown."""

    name: str
    line: int
    kind: str
    dialect: Dialect
    values: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def is_darknet(self) -> bool:
        """True for a cfg in darknet's own dialect."""
        return self.dialect == "darknet"

    def error(self, what: str, line: int | None = None) -> CheckpointError:
        return CheckpointError(f'"{self.name}" line {line or self.line}: {what}.', _HINT)

    def bad(self, key: str, line: int, value: str, expected: str) -> CheckpointError:
        return self.error(f"[{self.kind}] has {key} = {shown(value)}, expected {expected}", line)

    def take(self, key: str, default: str | None = None) -> tuple[int, str]:
        """Line and text of a value."""
        if key in self.values:
            return self.values.pop(key)
        if default is None:
            raise self.error(f'[{self.kind}] has no "{key}"')
        return self.line, default

    def text(self, key: str, default: str | None = None) -> str:
        return self.take(key, default)[1]

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        line, value = self.take(key, None if default is None else str(default))
        return self._whole(key, line, value, value, least)

    def wholes(self, key: str, least: int = 0) -> tuple[int, ...]:
        line, value = self.take(key)
        return tuple(self._whole(key, line, value, part, least) for part in value.split(","))

    def _whole(self, key: str, line: int, value: str, part: str, least: int) -> int:
        number = int(part) if _WHOLE.fullmatch(part.strip()) else None
        if number is None or not least <= number <= _MAX_NUMBER:
            what = "a whole number" if part is value else "whole numbers"
            raise self.bad(key, line, value, f"{what} from {least} to {_MAX_NUMBER}")
        return number

    def pairs(self, key: str) -> tuple[tuple[float, float], ...]:
        """Pairs of positive numbers."""
        line, value = self.take(key)
        parts = [part.strip() for part in value.split(",")]
        numbers = [float(part) if _DECIMAL.fullmatch(part) else 0.0 for part in parts]
        if len(numbers) % 2 or not all(0 < number <= _MAX_NUMBER for number in numbers):
            raise self.bad(key, line, value, f"pairs of positive numbers up to {_MAX_NUMBER}")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def sources(self, key: str, index: int, most: int | None = None) -> tuple[int, ...]:
        """References to earlier sections: counted from the first one, or if negative from this one."""
        line = self.values[key][0] if key in self.values else self.line
        given = self.wholes(key, least=-_MAX_NUMBER)
        if most is not None and len(given) > most:
            raise self.error(f"[{self.kind}] has {len(given)} references in {key}, expected {most}", line)
        resolved = tuple(index + ref if ref < 0 else ref for ref in given)
        for ref, source in zip(given, resolved, strict=True):
            if not 0 <= source < index:
                where = f"from {-index} to {index - 1}" if index else "none, as there is no section before it"
                raise self.error(f"[{self.kind}], section {index}, refers to {ref}, expected {where}", line)
        return resolved

    def positive(self, key: str, default: float) -> float:
        line, value = self.take(key, str(default))
        number = float(value) if _DECIMAL.fullmatch(value) else 0.0
        if not 0 < number <= _MAX_NUMBER:
            raise self.bad(key, line, value, f"a positive number up to {_MAX_NUMBER}")
        return number

    def activation(self, default: str | None) -> str:
        """The word of an activation; in darknet's dialect one that is known."""
        line, word = self.take("activation", default)
        if self.is_darknet and word != "linear" and word not in ACTIVATIONS["darknet"]:
            raise self.bad("activation", line, word, f"linear or one of {', '.join(ACTIVATIONS['darknet'])}")
        return word

    def finish(self) -> None:
        if self.is_darknet:
            for key in _LAYER_TRAINING & self.values.keys():
                self.values.pop(key)
        for key, (line, _) in self.values.items():
            raise self.error(f'[{self.kind}] has the key "{key}", which rkdeploy does not know', line)


def _split(text: str, name: str, dialect: Dialect) -> list[_Raw]:
    raws: list[_Raw] = []
    for number, whole_line in enumerate(_LINE_END.split(text), 1):
        line = whole_line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            header = _HEADER.fullmatch(line)
            if header is None:
                raise CheckpointError(f'"{name}" line {number}: {shown(line)} is not a section, as in "[net]".', _HINT)
            if len(raws) > _MAX_SECTIONS:
                raise CheckpointError(f'"{name}" line {number}: more than {_MAX_SECTIONS} sections.', _HINT)
            raws.append(_Raw(name, number, _SHORT.get(header[1], header[1]), dialect))
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _KEY.fullmatch(key):
            raise CheckpointError(f'"{name}" line {number}: {shown(line)} is not of the form "key=value".', _HINT)
        if not raws:
            raise CheckpointError(f'"{name}" line {number}: {shown(line)} stands before the first section.', _HINT)
        if dialect == "darknet":
            value = value.partition("#")[0].strip()
            if len(raws) == 1:  # of [net] darknet takes the first, and many have a second batch for training
                raws[0].values.setdefault(key, (number, value))
                continue
        if key in raws[-1].values:
            first = raws[-1].values[key][0]
            raise raws[-1].error(f'[{raws[-1].kind}] has "{key}" twice, first in line {first}', number)
        raws[-1].values[key] = (number, value)
    return raws


# ---------------------------------------------------------------------------------------------------------------------
# Keys and values to sections
# ---------------------------------------------------------------------------------------------------------------------


def _net(raw: _Raw) -> Net:
    """Parse [net]; its other keys concern training."""
    width, height = (raw.whole(key, least=1) if key in raw.values else None for key in ("width", "height"))
    letter_box = raw.is_darknet and bool(raw.whole("letter_box", 0))
    return Net(raw.line, width, height, raw.whole("channels", 3, least=1), letter_box)


def _convolutional(raw: _Raw, index: int) -> Section:
    if "stride" in raw.values:
        down = across = raw.whole("stride", least=1)
        raw.values.pop("stride_y", None)
        raw.values.pop("stride_x", None)
    else:
        down, across = raw.whole("stride_y", least=1), raw.whole("stride_x", least=1)
    made = Convolutional(
        index,
        raw.line,
        raw.kind,
        filters=raw.whole("filters", least=1),
        sizes=raw.wholes("size", least=1),
        stride_hw=(down, across),
        pad=bool(raw.whole("pad", 0 if raw.is_darknet else None)),
        groups=raw.whole("groups", 1, least=1),
        batch_normalize=bool(raw.whole("batch_normalize", 0)),
        activation=raw.activation("logistic" if raw.is_darknet else None),
        padding=raw.whole("padding", 0) if raw.is_darknet else 0,
        dilation=raw.whole("dilation", 1, least=1) if raw.is_darknet else 1,
    )
    padding = made.sizes[0] // 2 if made.pad else made.padding
    if made.sizes == (1,):
        return replace(made, dilation=1)
    if made.dilation > 1 and 2 * padding != made.sizes[0] - 1:
        raise raw.error(f"[convolutional] has a dilation of {made.dilation} and padding that does not keep the size")
    return made


def _route(raw: _Raw, index: int) -> Section:
    sources = raw.sources("layers", index)
    at = raw.values.get("group_id", (raw.line, ""))[0]
    groups, group = raw.whole("groups", 1, least=1), raw.whole("group_id", 0)
    if group >= groups:
        raise raw.error(f"[{raw.kind}] has group_id {group} of {groups} groups, expected one below {groups}", at)
    return Route(index, raw.line, raw.kind, sources, raw.kind == "route_lhalf", groups, group)


def _shortcut(raw: _Raw, index: int) -> Section:
    sources = raw.sources("from", index)
    weighted = "weights_type" in raw.values
    raw.text("weights_type", "none")
    raw.text("weights_normalization", "none")  # the PyTorch dialect has a variant of its own
    if weighted and raw.is_darknet:
        raise raw.error("[shortcut] has weights, which rkdeploy does not read from a .weights file")
    return Shortcut(index, raw.line, raw.kind, sources, weighted, raw.activation("linear"))


def _pool(raw: _Raw, index: int) -> Section:
    if not raw.is_darknet:
        return Pool(index, raw.line, raw.kind, raw.whole("size", least=1), raw.whole("stride", least=1))
    stride = raw.whole("stride", 1, least=1)
    size = raw.whole("size", stride, least=1)
    return Pool(index, raw.line, raw.kind, size, stride, raw.whole("padding", size - 1))


def _plain(raw: _Raw, index: int) -> Section:
    if raw.kind == "dropout":
        raw.text("probability", "0")
    elif raw.kind == "reorg" and raw.whole("stride", 2, least=1) != 2:
        raise raw.error("[reorg] has another stride than 2, which this dialect does not know")
    return Plain(index, raw.line, raw.kind)


def _upsample(raw: _Raw, index: int) -> Section:
    if raw.is_darknet and raw.positive("scale", 1.0) != 1.0:
        raise raw.error("[upsample] scales its values, which is not supported")
    return Upsample(index, raw.line, raw.kind, raw.whole("stride", least=1))


def _implicit(raw: _Raw, index: int) -> Section:
    atoms = raw.whole("atoms", least=1) if raw.kind.endswith("_2d") else 0
    return Implicit(index, raw.line, raw.kind, raw.whole("filters", least=1), atoms)


def _channel_operation(raw: _Raw, index: int) -> Section:
    activation = raw.activation("linear")  # of [scale_channels] and [sam]; PyTorch's dialect applies none
    source = raw.sources("from", index, most=1)[0]
    return ChannelOperation(index, raw.line, raw.kind, source, activation)


def _yolo(raw: _Raw, index: int) -> Section:
    if index == 0:
        raise raw.error("[yolo] is the first section, expected a convolution before it")
    new_coords, scale_x_y = bool(raw.whole("new_coords", 0)), raw.positive("scale_x_y", 1.0)
    if new_coords and not raw.is_darknet:
        raise raw.error("[yolo] has new_coords, a decode of darknet that PyTorch training does not have")
    anchors = raw.pairs("anchors")
    at = raw.values.get("mask", (raw.line, ""))[0]
    mask = raw.wholes("mask") if "mask" in raw.values or not raw.is_darknet else tuple(range(len(anchors)))
    if max(mask) >= len(anchors):
        raise raw.error(f"[yolo] has {max(mask)} in its mask, expected numbers below its {len(anchors)} anchors", at)
    classes = raw.whole("classes", least=1)
    for key in _TRAINING & raw.values.keys():
        raw.values.pop(key)
    chosen = tuple(anchors[i] for i in mask)
    if not raw.is_darknet:
        return Yolo(index, raw.line, raw.kind, classes, chosen, anchors, mask)
    return Yolo(index, raw.line, raw.kind, classes, chosen, anchors, mask, scale_x_y, new_coords)


_READERS: dict[str, Callable[[_Raw, int], Section]] = {
    "convolutional": _convolutional,
    **dict.fromkeys(("route", "route2", "route3", "route_lhalf"), _route),
    "shortcut": _shortcut,
    **dict.fromkeys(("maxpool", "local_avgpool"), _pool),
    **dict.fromkeys(("avgpool", "silence", "dropout", "BatchNorm2d", "reorg", "dwt"), _plain),
    "upsample": _upsample,
    **{f"implicit_{what}{flat}": _implicit for what in ("add", "mul", "cat") for flat in ("", "_2d")},
    **{
        f"{what}_channels{flat}": _channel_operation
        for what in ("shift", "control", "select", "alternate")
        for flat in ("", "_2d")
    },
    **dict.fromkeys(("scale_channels", "sam"), _channel_operation),
    "yolo": _yolo,
}
