"""Record what Frigate's own post-processing reads in a bundle built with `--form frigate`.

    python -m tests.data.forms.make_frigate_boxes FRIGATE BUNDLE IMAGE NAME

FRIGATE is a checkout of blakeblackshear/frigate 0.17.  The bundle's model runs in the simulator on the image; its
outputs as real numbers go to `post_process_yolo` of frigate/util/model.py.  NAME.npz gets the raw outputs and Frigate's
rows (class, score, top, left, bottom, right as fractions), NAME.json the contract.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.device.runtime.protocol import NO_OPTIONS
from rkdeploy.host.toolkit.simulator import open_bundle
from rkdeploy.images.file import read_image
from rkdeploy.images.fit import image_fit

HERE = Path(__file__).parent


def frigate_model(frigate: Path) -> Any:
    """Frigate's frigate/util/model.py, without the settings of a running Frigate."""
    constants = ModuleType("frigate.const")
    constants.MODEL_CACHE_DIR = ""  # type: ignore[attr-defined]  # a name that it imports and the reading ignores
    sys.modules |= {"frigate": ModuleType("frigate"), "frigate.const": constants}
    spec = importlib.util.spec_from_file_location("frigate_model", frigate / "frigate" / "util" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(frigate: Path, folder: Path, image: Path, name: str) -> None:
    """Simulate, read, and write both files."""
    bundle = read_bundle(folder)
    size = bundle.spec.input
    boxed = image_fit(size)(read_image(image))
    with open_bundle(bundle, None, NO_OPTIONS) as runtime:
        tensors = runtime.infer(boxed.image)
    rows = frigate_model(frigate).post_process_yolo([t.dequantized() for t in tensors], size.width, size.height)
    rows = rows[rows[:, 1] > 0]
    arrays = {f"output_{index}": tensor.values for index, tensor in enumerate(tensors)}
    np.savez_compressed(HERE / f"{name}.npz", rows=rows, **arrays)
    shutil.copyfile(bundle.folder / "contract.json", HERE / f"{name}.json")
    print(f"{name}: {len(rows)} boxes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
