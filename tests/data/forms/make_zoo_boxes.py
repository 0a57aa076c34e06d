"""Record what rknn_model_zoo's own Python post-processing reads in a bundle built with `--form zoo`.

    python -m tests.data.forms.make_zoo_boxes ZOO BUNDLE IMAGE NAME

ZOO is a checkout of airockchip/rknn_model_zoo (2.3.2) in a folder of that name.  The bundle's model runs in the
simulator on the image; its outputs as real numbers go to `post_process` of the zoo's example for this contract, and
NAME.npz gets the raw outputs and the zoo's boxes, NAME.json the contract.  Needs torch, which the zoo's code imports.
Recorded: yolov5 from the sample's best.pt, yolox from tests/data/yolox/nano.pth at 160, yolov8 from a public YOLOv8 of
two classes at 320, whose file is not kept here.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.device.runtime.protocol import NO_OPTIONS, HeadTensor
from rkdeploy.host.graph.forms.zoo import zoo_demo
from rkdeploy.host.toolkit.simulator import open_bundle
from rkdeploy.images.file import read_image
from rkdeploy.images.fit import image_fit

HERE = Path(__file__).parent


def zoo_module(zoo: Path, demo: str, width: int, height: int) -> ModuleType:
    """The zoo's Python demo, set to an input size, without its import of tools for drawing."""
    helper = ModuleType("py_utils.coco_utils")
    helper.COCO_test_helper = None  # type: ignore[attr-defined]  # a name that the demo imports and its reading ignores
    sys.modules |= {"py_utils": ModuleType("py_utils"), "py_utils.coco_utils": helper}
    file = zoo / "examples" / demo / "python" / f"{demo}.py"
    spec = importlib.util.spec_from_file_location(f"zoo_{demo}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.IMG_SIZE = (width, height)  # type: ignore[attr-defined]  # the demo's constant
    return module


def zoo_boxes(zoo: Path, bundle: Bundle, tensors: tuple[HeadTensor, ...]) -> tuple[Any, Any, Any]:
    """Boxes x1, y1, x2, y2 in pixels of the network input, classes and scores as the zoo reads them."""
    spec = bundle.spec
    demo = zoo_demo(spec).split()[0]
    module = zoo_module(zoo, demo, spec.input.width, spec.input.height)
    outputs = [tensor.dequantized() for tensor in tensors]
    if spec.anchors is None:
        return tuple(module.post_process(outputs))
    return tuple(module.post_process(outputs, [[list(pair) for pair in level] for level in spec.anchors.levels_px]))


def main(zoo: Path, folder: Path, image: Path, name: str) -> None:
    bundle = read_bundle(folder)
    boxed = image_fit(bundle.spec.input)(read_image(image))
    with open_bundle(bundle, None, NO_OPTIONS) as runtime:
        tensors = runtime.infer(boxed.image)
    boxes, classes, scores = zoo_boxes(zoo, bundle, tensors)
    arrays = {f"output_{index}": tensor.values for index, tensor in enumerate(tensors)}
    np.savez_compressed(HERE / f"{name}.npz", boxes=boxes, classes=classes, scores=scores, **arrays)
    shutil.copyfile(bundle.folder / "contract.json", HERE / f"{name}.json")
    print(f"{name}: {len(boxes)} boxes, classes {sorted(set(np.asarray(classes).tolist()))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
