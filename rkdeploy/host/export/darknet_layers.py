"""Writer of a darknet cfg's sections into the graph, with the weights of a state dict or a `.weights`.

`rkdeploy.host.checkpoint.darknet_sections` defines the sections; here they become nodes.  Learned tensors
([implicit_add], [implicit_mul]) before and after a 1x1 convolution are folded into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.darknet_sections import (
    ChannelOperation,
    Convolutional,
    DarknetCfg,
    Dialect,
    Implicit,
    Plain,
    Pool,
    Route,
    Section,
    Shortcut,
    Upsample,
    Yolo,
)
from rkdeploy.host.checkpoint.module_tree import require_affine
from rkdeploy.host.export import activations, convolutions, pooling
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import Kernel, folded
from rkdeploy.host.export.emission import Emission
from rkdeploy.host.export.layer_list import blamed
from rkdeploy.host.export.yolor_blocks import haar, reorganized, with_implicit

_BATCH_NORM_EPS: Final[Mapping[Dialect, float]] = {"pytorch": 1e-4, "darknet": 1e-5}
"""models/models.py, create_modules; src/blas.c, normalize_cpu."""
_LEAKY_SLOPE = 0.1
_MIXED_UP = "The weights and the cfg are of different models."

Learned: TypeAlias = NDArray[np.float32]
Output: TypeAlias = Value | Learned
"""Output of a section: a tensor that depends on the image, or a learned one."""


def emit_sections(emission: Emission, root: Module, cfg: DarknetCfg, image: Value) -> list[tuple[str, Value]]:
    """Emit all sections; returns path and output of the convolution before each [yolo], in their order.

    The outputs are (1, anchors x (5 + classes), H, W).

    Args:
        emission: the graph under construction.
        root: of the state dict.
        cfg: the sections.
        image: (1, 3, H, W), RGB from 0 to 1.

    Raises:
        CheckpointError, GraphError: when weights and sections do not belong together.
    """
    return _Walk(emission, root, cfg).run(image)


@dataclass(slots=True)
class _Walk:
    """The outputs of the sections so far.

    Attributes:
        added: learned numbers that a [shift_channels] leaves to the following convolution, by the convolution's index.
        bare: outputs of convolutions without activation, and their paths.
    """

    emission: Emission
    root: Module
    cfg: DarknetCfg
    outputs: list[Output] = field(default_factory=list)
    added: dict[int, Learned] = field(default_factory=dict)
    bare: dict[str, str] = field(default_factory=dict)

    def run(self, image: Value) -> list[tuple[str, Value]]:
        heads = []
        current: Output = image
        for section in self.cfg.sections:
            with blamed(f"Section {section.index} [{section.kind}] of {self.cfg.name}, line {section.line},"):
                current = _emit(self, section, current)
            if isinstance(section, Yolo):
                heads.append(self.head(section, current))
            self.outputs.append(current)
        return heads

    def head(self, section: Yolo, current: Output) -> tuple[str, Value]:
        if not isinstance(current, Value) or current.name not in self.bare:
            what = "with activation=logistic" if section.new_coords else "without activation"
            raise GraphError(
                f"Section {section.index} [yolo] of {self.cfg.name}, line {section.line}, does not follow a "
                f"convolution {what}, which the head's last layer is."
            )
        return self.bare[current.name], current

    def module(self, section: Section) -> Module:
        """The weights of a section.

        Raises:
            CheckpointError: when the state dict has none.
        """
        return self.root.child("module_list").child(str(section.index))

    def path(self, section: Section) -> str:
        return f"module_list.{section.index}"

    def value(self, section: Section, output: Output) -> Value:
        """An output as a tensor of the graph."""
        if isinstance(output, Value):
            return output
        name = self.emission.builder.constant(f"{self.path(section)}.learned", output)
        return Value(name, output.shape)

    def activated(self, section: Section, word: str, value: Value) -> Value:
        """A section's values behind its activation."""
        name = self.cfg.activation(word)
        if name is None:
            return value
        path = f"{self.path(section)}.activation"
        module = Module(name, "", path, {"negative_slope": _LEAKY_SLOPE}, {}, {})
        return activations.ACTIVATIONS[name](self.emission.builder, module, value)

    def only_reader(self, index: int) -> Section | None:
        """The section that follows section `index` and takes its output, if no other section does."""
        readers = [s for s in self.cfg.sections if index in _sources(s) or (s.index == index + 1 and _chained(s))]
        return readers[0] if len(readers) == 1 and readers[0].index == index + 1 else None

    def gain_behind(self, section: Convolutional) -> Learned | None:
        """The learned factor of a [control_channels] that is the only reader of a convolution without activation."""
        reader = self.only_reader(section.index)
        if self.cfg.activation(section.activation) or not isinstance(reader, ChannelOperation):
            return None
        if not _controls(reader):
            return None
        source = self.outputs[reader.source] if reader.source < len(self.outputs) else None
        return source if isinstance(source, np.ndarray) and source.size == section.filters else None


def _emit(walk: _Walk, section: Section, current: Output) -> Output:
    """The output of a section whose predecessor's output is `current`."""
    match section:
        case Convolutional():
            return _convolutional(walk, section, current)
        case Route():
            return _route(walk, section)
        case Shortcut():
            return _shortcut(walk, section, current)
        case Pool():
            return _pool(walk, section, current)
        case Plain():
            return _plain(walk, section, current)
        case Upsample():
            return _upsample(walk, section, current)
        case Implicit():
            return _implicit(walk, section)
        case ChannelOperation():
            return _channel_operation(walk, section, current)
        case _:  # [yolo] reads the layer before it
            return current


def _sources(section: Section) -> tuple[int, ...]:
    """Sections that a section refers to by number."""
    if isinstance(section, (Route, Shortcut)):
        return section.sources
    return (section.source,) if isinstance(section, ChannelOperation) else ()


def _chained(section: Section) -> bool:
    """True if a section takes the output of the one before."""
    return not isinstance(section, (Route, Implicit))


def _controls(section: ChannelOperation) -> bool:
    return section.kind.removesuffix("_2d") == "control_channels"


def _convolutional(walk: _Walk, section: Convolutional, current: Output) -> Output:
    builder, module = walk.emission.builder, walk.module(section)
    value = walk.value(section, current)
    norm = _as_norm(walk, module.child("BatchNorm2d")) if section.batch_normalize else None
    if len(section.sizes) == 1:
        out = _kernel(walk, section, module.child("Conv2d"), section.sizes[0], norm, value)
    else:
        parts = module.child("MixConv2d").child("m")
        if len(parts.children) != len(section.sizes):
            raise GraphError(f'"{parts.path}" has {len(parts.children)} kernels, expected {len(section.sizes)}.')
        convs = [
            _checked(walk, section, _as_conv(section, parts.child(str(i)), size // 2), size, value)
            for i, size in enumerate(section.sizes)
        ]
        outs = [convolutions.convolution(builder, conv, value) for conv in convs]
        out = builder.concat(walk.path(section), outs, 1)
        out = convolutions.batch_norm(builder, norm, out) if norm is not None else out
    if out.channels != section.filters:
        raise GraphError(
            f'"{module.path}" gives {out.channels} channels, {walk.cfg.name} says {section.filters}.',
            _MIXED_UP,
        )
    behind = walk.cfg.sections[section.index + 1 : section.index + 2]
    in_decode = section.activation == "logistic" and any(isinstance(s, Yolo) and s.new_coords for s in behind)
    if (walk.cfg.activation(section.activation) is None or in_decode) and len(section.sizes) == 1:
        walk.bare[out.name] = f"{module.path}.Conv2d"
    # Darknet's new_coords leaves the sigmoids of the decode to the convolution before it.
    return out if in_decode else walk.activated(section, section.activation, out)


def _kernel(
    walk: _Walk, section: Convolutional, weights: Module, size: int, norm: Module | None, value: Value
) -> Value:
    """One convolution with its BatchNorm and learned numbers folded in."""
    # Darknet pads by the dilation times as much: src/convolutional_layer.c, forward_convolutional_layer.
    padding = (size // 2 if section.pad else section.padding) * section.dilation
    conv = _checked(walk, section, _as_conv(section, weights, padding), size, value)
    added, gain = walk.added.get(section.index), walk.gain_behind(section)
    kernel: Kernel = folded(conv, None)
    if added is not None:
        kernel = with_implicit(kernel, added, None, conv.path)
    if norm is not None:
        scale, shift = convolutions.batch_norm_scale(norm)
        kernel = kernel[0] * scale[:, None, None, None], kernel[1] * scale + shift
    weight, bias = with_implicit(kernel, None, gain, conv.path)
    return convolutions.convolution(walk.emission.builder, conv, value, weight=weight, bias=bias)


def _checked(walk: _Walk, section: Convolutional, conv: Module, size: int, value: Value) -> Module:
    """The module of a convolution, checked against its section."""
    shape = conv.tensors["weight"].shape if "weight" in conv.tensors else ()
    expected = (section.filters, value.channels // section.groups, size, size)
    # A part of a MixConv has some of the channels.
    if shape[1:] != expected[1:] or (len(section.sizes) == 1 and shape != expected):
        raise GraphError(
            f'"{conv.path}.weight" has the shape {shape or "none"}, expected {expected} by section {section.index} of '
            f"{walk.cfg.name}.",
            _MIXED_UP,
        )
    if not section.batch_normalize and "bias" not in conv.tensors:
        raise GraphError(f'"{conv.path}" has neither a bias nor a BatchNorm, expected one of them.')
    return conv


def _as_conv(section: Convolutional, weights: Module, padding: int) -> Module:
    attributes = {
        "stride": section.stride_hw,
        "padding": (padding, padding),
        "groups": section.groups,
        "dilation": (section.dilation, section.dilation),
    }
    return replace(weights, class_name="Conv2d", attributes=attributes)


def _as_norm(walk: _Walk, weights: Module) -> Module:
    require_affine(weights)
    return replace(weights, class_name="BatchNorm2d", attributes={"eps": _BATCH_NORM_EPS[walk.cfg.dialect]})


def _route(walk: _Walk, section: Route) -> Output:
    sources = [walk.outputs[i] for i in section.sources]
    if section.groups != 1:
        sources = [_group(walk, section, source) for source in sources]
    if section.first_half:
        sources = [_first_channels(walk, section, s, s.shape[1] // 2) for s in sources]
    if len(sources) == 1:
        return sources[0]
    values = [walk.value(section, s) for s in sources]
    return walk.emission.builder.concat(walk.path(section), values, 1)


def _group(walk: _Walk, section: Route, output: Output) -> Output:
    """One of equal parts of the channels, as darknet takes it.

    Raises:
        GraphError: in PyTorch's dialect, which does not know it, or where the channels are not divisible.
    """
    if walk.cfg.dialect != "darknet" or isinstance(output, np.ndarray):
        raise GraphError(
            f"Section {section.index} [route] of {walk.cfg.name} takes a group, which the training code of this "
            "state dict does not know.",
            "Build from darknet's own file: rkdeploy build model.weights --cfg model.cfg",
        )
    if output.channels % section.groups:
        raise GraphError(
            f"Section {section.index} [route] of {walk.cfg.name} takes one of {section.groups} groups of "
            f"{output.channels} channels."
        )
    sizes = [output.channels // section.groups] * section.groups
    return walk.emission.builder.split(walk.path(section), output, sizes, 1)[section.group_id]


def _first_channels(walk: _Walk, section: Section, output: Output, count: int) -> Output:
    if isinstance(output, np.ndarray):
        return output[:, :count]
    rest = output.channels - count
    return walk.emission.builder.split(walk.path(section), output, [count, rest], 1)[0] if rest else output


def _shortcut(walk: _Walk, section: Shortcut, current: Output) -> Output:
    builder, path = walk.emission.builder, walk.path(section)
    total = walk.value(section, current)
    gains = None
    if section.weighted:
        count = 1 + len(section.sources)
        gains = 1 / (1 + np.exp(-walk.module(section).array("w").astype(np.float64))) * (2 / count)
        if gains.shape != (count,):
            raise GraphError(f'"{path}.w" has shape {gains.shape}, expected {count} numbers.')
        total = builder.elementwise("Mul", path, total, float(gains[0]))
    for number, source in enumerate(section.sources, start=1):
        term = walk.value(section, walk.outputs[source])
        if gains is not None:
            term = builder.elementwise("Mul", path, term, float(gains[number]))
        common = min(total.channels, term.channels)
        shorter = walk.value(section, _first_channels(walk, section, term, common))
        if common == total.channels:
            total = builder.elementwise("Add", path, total, shorter)
        else:
            first, rest = builder.split(path, total, [common, total.channels - common], 1)
            total = builder.concat(path, [builder.elementwise("Add", path, first, shorter), rest], 1)
    return walk.activated(section, section.activation, total) if walk.cfg.dialect == "darknet" else total


def _pool(walk: _Walk, section: Pool, current: Output) -> Output:
    builder, value, path = walk.emission.builder, walk.value(section, current), walk.path(section)
    if walk.cfg.dialect == "darknet":
        return _darknet_pool(walk, section, value)
    if section.size == 2 and section.stride == 1:
        pad = Module("ZeroPad2d", "", path, {"padding": (0, 1, 0, 1)}, {}, {})
        value = pooling.zero_pad(builder, pad, value)
    attributes = {"kernel_size": section.size, "stride": section.stride, "padding": (section.size - 1) // 2}
    pool = Module("AvgPool2d" if section.average else "MaxPool2d", "", path, attributes, {}, {})
    return (pooling.average_pool if section.average else pooling.max_pool)(builder, pool, value)


def _darknet_pool(walk: _Walk, section: Pool, value: Value) -> Value:
    """Maxima of windows of which only what lies inside the tensor counts; see `Pool`."""
    before, pads, sizes = section.padding // 2, [], []
    for n in value.shape[2:]:
        count = (n + section.padding - section.size) // section.stride + 1
        pads.append(max(0, (count - 1) * section.stride + section.size - before - n))
        sizes.append(count)
    if min(sizes) < 1 or max(before, *pads) >= section.size:
        raise GraphError(
            f"Section {section.index} [maxpool] of {walk.cfg.name} has windows of {section.size} with padding "
            f"{section.padding} on {value.shape}, some of them outside."
        )
    attributes = {
        "kernel_shape": [section.size] * 2,
        "strides": [section.stride] * 2,
        "pads": [before, before, *pads],
    }
    path = walk.path(section)
    return walk.emission.builder.add("MaxPool", path, [value], (*value.shape[:2], *sizes), attributes)


def _plain(walk: _Walk, section: Plain, current: Output) -> Output:
    if section.kind in ("silence", "dropout"):
        return current
    builder, value, path = walk.emission.builder, walk.value(section, current), walk.path(section)
    if section.kind == "avgpool":
        return builder.add("GlobalAveragePool", path, [value], (*value.shape[:2], 1, 1))
    if section.kind == "BatchNorm2d":
        return convolutions.batch_norm(builder, _as_norm(walk, walk.module(section)), value)
    if section.kind == "dwt":
        found = walk.root.child("module_list").children.get(str(section.index))
        if found is not None:
            return haar(builder, found.child("DWT").child("xfm"), path, value)
    return reorganized(walk.emission, path, value)


def _upsample(walk: _Walk, section: Upsample, current: Output) -> Output:
    attributes = {"scale_factor": section.stride, "mode": "nearest"}
    module = Module("Upsample", "", walk.path(section), attributes, {}, {})
    return pooling.upsample(walk.emission.builder, module, walk.value(section, current))


def _implicit(walk: _Walk, section: Implicit) -> Output:
    learned = walk.module(section).array("implicit")
    rows = (section.atoms, section.filters, 1) if section.atoms else (section.filters, 1, 1)
    if learned.shape != (1, *rows):
        raise GraphError(
            f'"{walk.path(section)}.implicit" has the shape {learned.shape}, expected {(1, *rows)}.',
            _MIXED_UP,
        )
    return learned


def _channel_operation(walk: _Walk, section: ChannelOperation, current: Output) -> Output:
    builder, path = walk.emission.builder, walk.path(section)
    source = walk.outputs[section.source]
    if section.flat:
        source = _flat(walk, section, source)
    kind = section.kind.removesuffix("_2d")
    value = walk.value(section, current)
    learned = source if isinstance(source, np.ndarray) else None
    if kind == "shift_channels" and learned is not None and learned.shape == (1, value.channels, 1, 1):
        reader = walk.only_reader(section.index)
        if isinstance(reader, Convolutional) and reader.sizes == (1,) and reader.groups == 1:
            walk.added[reader.index] = learned
            return value
    if kind == "control_channels" and learned is not None:
        before = walk.cfg.sections[section.index - 1]
        if isinstance(before, Convolutional) and len(before.sizes) == 1 and walk.gain_behind(before) is not None:
            return value
    if kind == "alternate_channels":
        if learned is not None:
            source = np.ascontiguousarray(np.broadcast_to(learned, value.shape))
        return builder.concat(path, [walk.value(section, source), value], 1)
    if kind == "select_channels":
        gate = walk.value(section, source)
        source = builder.add("Sigmoid", path, [gate], gate.shape)
    operator = "Add" if kind == "shift_channels" else "Mul"
    result = builder.elementwise(operator, path, value, walk.value(section, source))
    return walk.activated(section, section.activation, result) if walk.cfg.dialect == "darknet" else result


def _flat(walk: _Walk, section: Section, source: Output) -> Output:
    if isinstance(source, np.ndarray):
        return source.reshape(1, -1, 1, 1)
    count = int(np.prod(source.shape))
    return walk.emission.builder.reshape(walk.path(section), source, (1, count, 1, 1))
