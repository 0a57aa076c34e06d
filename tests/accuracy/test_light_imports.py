"""Packages that an evaluation on a board must not need."""

from __future__ import annotations

import json
import subprocess
import sys


def test_nothing_of_the_hosts_is_imported() -> None:
    """An evaluation imports neither onnx, torch, the exporter nor COCO's tool; the last comes when it scores."""
    code = (
        "import json, sys, rkdeploy.accuracy.evaluation; "
        "print(json.dumps(sorted({m.partition('.')[0] if not m.startswith('rkdeploy.') else '.'.join(m.split('.')[:2]) "
        "for m in sys.modules})))"
    )
    loaded = set(
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    )
    assert "rkdeploy.accuracy" in loaded
    heavy = {"onnx", "onnxruntime", "torch", "pycocotools", "yaml", "scipy"}
    rooms = {"rkdeploy.host", "rkdeploy.analysis"}
    assert not loaded & (heavy | rooms)
