"""Make the YOLOv5-Lite reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --depth 1 https://github.com/ppogg/YOLOv5-Lite upstream/yolov5-lite
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests
    python -m tests.data.yolov5_lite.make_vectors --upstream upstream/yolov5-lite --out tests/data/yolov5_lite

`--case NAME` makes one case.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

from tests.data.lineage import Case, main

CASES = (
    Case("lite_e", "v5Lite-e: ShuffleNetV2, DWConvblock, ADD", "models/v5Lite-e.yaml"),
    Case("lite_s", "v5Lite-s: ShuffleNetV2, C3; last.pt in float32", "models/v5Lite-s.yaml", save="last"),
    Case("lite_c", "v5Lite-c: PP-LCNet with its excitation, Dense", "models/v5Lite-c.yaml"),
    Case("lite_g", "v5Lite-g: RepVGG in branches, Focus", "models/v5Lite-g.yaml"),
)
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations are upstream's, read when this runs, with fewer",
    "channels and own classes and anchors; columns of `pred` are x, y, w, h (px), objectness, classes.",
)

if __name__ == "__main__":
    main("tests.data.yolov5_lite.make_vectors", "YOLOv5-Lite", ABOUT, CASES)
