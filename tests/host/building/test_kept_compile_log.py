"""The part of the toolkit's log that a build keeps."""

from __future__ import annotations

import gzip
from pathlib import Path

from rkdeploy.host.building.quantized_network import compiled_of
from rkdeploy.host.toolkit.built_model import BuiltModel, ModelTensor

LOG = Path(__file__).parents[2] / "data/compile_log/2.5.0_yolov8n_rk3588_int8.txt.gz"


def built(log: Path) -> BuiltModel:
    return BuiltModel(None, None, ModelTensor("images", (1, 3, 640, 640)), (), "2.5.0", (), (), 0.0, log)


def test_a_readable_log_is_kept_without_a_warning(tmp_path: Path) -> None:
    """All layers of the log are in the record."""
    log = tmp_path / "toolkit.log"
    log.write_bytes(gzip.decompress(LOG.read_bytes()))
    compiled, problem = compiled_of(built(log))
    assert compiled is not None
    assert (len(compiled.layers), problem) == (110, "")


def test_an_unreadable_log_costs_no_build(tmp_path: Path) -> None:
    """A toolkit that prints otherwise gives a warning and no figures, and the build goes on."""
    log = tmp_path / "toolkit.log"
    log.write_text("I rknn building done.\n")
    compiled, problem = compiled_of(built(log))
    assert compiled is None
    assert "Nothing can be predicted for this build" in problem
