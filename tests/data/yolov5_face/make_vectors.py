"""Make the YOLOv5-face reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --depth 1 https://github.com/deepcam-cn/yolov5-face upstream/yolov5-face
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests
    python -m tests.data.yolov5_face.make_vectors --upstream upstream/yolov5-face --out tests/data/yolov5_face

`--case NAME` makes one case.  torchvision and thop are not needed (stand-ins take their place).
"""

from __future__ import annotations

from tests.data.lineage import Case, main

CASES = (
    Case("n05", "yolov5n-0.5: StemBlock, ShuffleV2Block", "models/yolov5n-0.5.yaml"),
    Case("s_classes", "yolov5s: StemBlock, C3, SPP; three classes instead of one", "models/yolov5s.yaml", nc=3),
    Case("n6", "yolov5n6: four levels 8-64; last.pt in float32", "models/yolov5n6.yaml", hw=(128, 192), save="last"),
    Case("blaze", "blazeface_fpn: BlazeBlock, DoubleBlazeBlock; two levels", "models/blazeface_fpn.yaml",
         width=1 / 8),
)  # fmt: skip
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations are upstream's, read when this runs, with fewer",
    "channels and own classes and anchors; columns of `pred` are x, y, w, h (px), objectness, x and y of five",
    "landmarks (px), classes.",
)

if __name__ == "__main__":
    main("tests.data.yolov5_face.make_vectors", "YOLOv5-face", ABOUT, CASES)
