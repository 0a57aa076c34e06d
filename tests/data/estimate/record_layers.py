"""Writes what a fit needs of compile logs, one line a compiled model.

python -m tests.data.estimate.record_layers FOLDER FILE, with logs named `TOOLKIT,MODEL,TARGET.log`
(2.3.2,yolov5n,rk3588.log); FILE is `layers.jsonl.gz` or `fp16_layers.jsonl.gz`.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from rkdeploy.host.toolkit.compile_log import read_compile_log

lines = []
for log in sorted(Path(sys.argv[1]).glob("*.log")):
    toolkit, model, target = log.stem.split(",")
    compiled = read_compile_log(log)
    layers = [  # a third of the size; attention's inputs say how many tokens look at how many
        replace(layer, name="", input_shapes=layer.input_shapes if "Attention" in layer.op else ())
        for layer in compiled.layers
    ]
    lines.append(msgspec.json.encode({"toolkit": toolkit, "model": model, "target": target, "layers": layers}))
text = b"\n".join(lines) + b"\n"
Path(sys.argv[2]).write_bytes(gzip.compress(text, 9, mtime=0))
