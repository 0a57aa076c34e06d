"""Writes what a fit needs of compile logs: `layers.jsonl.gz`, one line a compiled model.

python record_layers.py FOLDER, with logs named `TOOLKIT,MODEL,TARGET.log` (2.3.2,yolov5n,rk3588.log).
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from rkdeploy.quantize.compile_log import read_compile_log

lines = []
for log in sorted(Path(sys.argv[1]).glob("*.log")):
    toolkit, model, target = log.stem.split(",")
    compiled = read_compile_log(log)
    layers = [replace(layer, name="", input_shapes=()) for layer in compiled.layers]  # a third of the size
    lines.append(msgspec.json.encode({"toolkit": toolkit, "model": model, "target": target, "layers": layers}))
text = b"\n".join(lines) + b"\n"
(Path(__file__).parent / "layers.jsonl.gz").write_bytes(gzip.compress(text, 9, mtime=0))
