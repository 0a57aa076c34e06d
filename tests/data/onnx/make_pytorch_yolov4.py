"""Write pytorch_yolov4.onnx and .npz: a tiny YOLOv4 by Tianxiaomo/pytorch-YOLOv4, and what it computes.

    python make_pytorch_yolov4.py FOLDER_OF_PYTORCH_YOLOV4

The network and its random weights are ../darknet/v4_tiny.  The image is seeded noise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
SOURCE = HERE.parent / "darknet" / "v4_tiny.cfg"


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from tool.darknet2pytorch import Darknet  # type: ignore[import-not-found]  # upstream's

    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder) / "tiny.cfg"
        cfg.write_text(SOURCE.read_text().replace("letter_box=1", ""))  # upstream does not know it
        model = Darknet(str(cfg))
    model.load_weights(str(SOURCE.with_suffix(".weights")))
    model.eval()
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, model.height, model.width), np.float32))
    with torch.no_grad():
        boxes, confs = model(image)
    names = {"input_names": ["input"], "output_names": ["boxes", "confs"]}
    torch.onnx.export(model, (image,), str(HERE / "pytorch_yolov4.onnx"), opset_version=11, dynamo=False, **names)
    np.savez_compressed(HERE / "pytorch_yolov4.npz", boxes=boxes.numpy(), confs=confs.numpy())


if __name__ == "__main__":
    main()
