"""Make the YOLOv7-face reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --depth 1 https://github.com/derronqi/yolov7-face upstream/yolov7-face
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests
    python -m tests.data.yolov7_face.make_vectors --upstream upstream/yolov7-face --out tests/data/yolov7_face

`--case NAME` makes one case.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

from tests.data.lineage import Case, main

CASES = (
    Case("lite_t", "yolov7-lite-t: StemBlock, Shuffle_Block, DWConvblock, ADD", "cfg/yolov7-lite-t.yaml", nc=1),
    Case("s", "yolov7s-face: SPF; last.pt in float32", "cfg/yolov7s-face.yaml", nc=1, save="last"),
    Case("face", "yolov7-face: SPPFCSPC, IKeypoint with implicits", "cfg/yolov7-face.yaml", nc=1),
)
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations are upstream's, read when this runs, with fewer",
    "channels and own anchors; columns of `pred` are x, y, w, h (px), objectness, one class, and x, y (px) and score",
    "of each keypoint.",
)

if __name__ == "__main__":
    main("tests.data.yolov7_face.make_vectors", "YOLOv7-face", ABOUT, CASES)
