"""Emitters for the blocks of PP-HGNetV2, the backbone of RT-DETR-l and -x (ultralytics.nn.modules.block)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import joined, summed
from rkdeploy.host.export.emission import Emission, Emitter, chain, child, one


def _hg_stem(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """stem4(stem3(cat(pool(y), stem2b(pad(stem2a(y)))))) with y = pad(stem1(x)); pad adds zeros right and below."""
    value = _padded(emission, module, child(emission, module, "stem1", one(module, inputs)))
    inner = _padded(emission, module, child(emission, module, "stem2a", value))
    parts = [child(emission, module, "pool", value), child(emission, module, "stem2b", inner)]
    return child(emission, module, "stem4", joined(emission, module, parts, "stem3"))


def _padded(emission: Emission, module: Module, value: Value) -> Value:
    """One column of zeros to the right, one row below."""
    pads = emission.builder.constant(f"{module.path}.pads", np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64))
    n, c, h, w = value.shape
    return emission.builder.add("Pad", module.path, [value, pads], (n, c, h + 1, w + 1))


def _hg_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """ec(sc(cat(x, m0(x), m1(m0(x)), ...))), added to x if `add` is set."""
    value = one(module, inputs)
    squeezed = joined(emission, module, [value, *chain(emission, module.child("m"), value)], "sc")
    out = child(emission, module, "ec", squeezed)
    return summed(emission, module, out, value) if module.attribute("add", False) else out


HGNET_BLOCKS: dict[str, Emitter] = {"HGStem": _hg_stem, "HGBlock": _hg_block}
