"""Make the YOLOv7-pose reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --branch pose --depth 1 https://github.com/WongKinYiu/yolov7 upstream/yolov7-pose
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests
    python -m tests.data.yolov7_pose.make_vectors --upstream upstream/yolov7-pose --out tests/data/yolov7_pose

`--case NAME` makes one case.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

from tests.data.lineage import Case, main

CASES = (
    Case("w6_pose", "yolov7-w6-pose: four levels, 17 keypoints from a chain of depthwise convolutions",
         "cfg/yolov7-w6-pose.yaml", nc=1, hw=(128, 192)),
)  # fmt: skip
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations are upstream's, read when this runs, with fewer",
    "channels and own anchors; columns of `pred` are x, y, w, h (px), objectness, one class, and x, y (px) and score",
    "of each keypoint.",
)

if __name__ == "__main__":
    main("tests.data.yolov7_pose.make_vectors", "YOLOv7-pose", ABOUT, CASES)
