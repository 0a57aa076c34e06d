"""Make the YOLOv7 reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --depth 1 https://github.com/WongKinYiu/yolov7 upstream/yolov7
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests
    python -m tests.data.yolov7.make_vectors --upstream upstream/yolov7 --out tests/data/yolov7

`--case NAME` makes one case.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

from typing import Any

from tests.data.lineage import Case, Layers, main

P6 = (128, 192)


def reparameterize(model: Any) -> None:
    """Make one convolution of every RepConv, as upstream's fuse() does."""
    for module in model.modules():
        if type(module).__name__ == "RepConv":
            module.fuse_repvgg_block()


BLOCKS: Layers = {  # blocks of models/common.py that the published configurations hardly use
    "backbone": [
        [-1, 1, "Stem", [64]],
        [-1, 2, "BottleneckCSPA", [128]],
        [-1, 1, "RobustConv", [128, 7, 2, None, 1, True, 0.5]],
        [-1, 2, "ResXCSPB", [256, True, 4]],
        [-1, 1, "DownC", [256]],
        [-1, 2, "RepResCSPC", [256]],
        [-1, 1, "GhostSPPCSPC", [256]],
        [-1, 1, "RepConv", [256, 3, 1]],
    ],
    "head": [
        [[-1, 5], 1, "Shortcut", [1]],
        [-1, 1, "Conv", [512, 1, 1]],
        [[-1, 9], 1, "Chuncat", [1]],
        [-1, 1, "Foldcut", [1]],
        [-1, 1, "GhostCSPB", [256]],
        [[3, -1], 1, "IDetect", ["nc", "anchors"]],
    ],
}
OREPA: Layers = {  # RepConv_OREPA with and without its identity, and strided
    "backbone": [
        [-1, 1, "Conv", [128, 3, 4]],
        [-1, 1, "RepConv_OREPA", [256, 3, 2]],
        [-1, 1, "RepConv_OREPA", [256, 3, 1]],
        [-1, 1, "RepConv_OREPA", [512, 3, 2]],
    ],
    "head": [[[2, 3], 1, "IDetect", ["nc", "anchors"]]],
}
BINS: Layers = {  # a head that gives sizes as bins; no published configuration has it
    "backbone": [
        [-1, 1, "Conv", [128, 3, 4]],
        [-1, 1, "RepConv", [256, 3, 2]],
        [-1, 1, "Conv", [512, 3, 2]],
        [-1, 1, "SPPCSPC", [512]],
    ],
    "head": [[[1, 3], 1, "IBin", ["nc", "anchors"]]],
}


def spread_gains(model: Any) -> None:
    """Gains of the five kernels as training leaves them; upstream never sets a sixth that it has and does not use."""
    for module in model.modules():
        if type(module).__name__ == "OREPA_3x3_RepConv":
            gains = module.vector.data
            gains[:5] += gains.new_tensor([0.1, 0.05, 0.2, -0.1, -0.2])[:, None]
            gains[5:] = float("nan")


CASES = (
    Case("tiny_training", "yolov7-tiny as it is trained: LeakyReLU, IDetect", "cfg/training/yolov7-tiny.yaml"),
    Case("tiny_plain", "yolov7-tiny with a plain Detect; last.pt in float32", "cfg/deploy/yolov7-tiny.yaml",
         save="last"),
    Case("v7_training", "yolov7: RepConv in branches, SPPCSPC, IDetect with implicits", "cfg/training/yolov7.yaml"),
    Case("v7_deploy", "yolov7, RepConv re-parameterized", "cfg/deploy/yolov7.yaml", change=reparameterize),
    Case("x_training", "yolov7-x: wider aggregation, plain convolutions", "cfg/training/yolov7x.yaml"),
    Case("w6_training", "four levels 8-64, ReOrg, IAuxDetect with its auxiliary heads", "cfg/training/yolov7-w6.yaml",
         hw=P6),
    Case("d6_deploy", "DownC, four levels", "cfg/deploy/yolov7-d6.yaml", hw=P6),
    Case("e6_training", "E6: ReOrg, DownC, IAuxDetect", "cfg/training/yolov7-e6.yaml", hw=P6),
    Case("e6e_training", "E6E: DownC, Shortcut, IAuxDetect", "cfg/training/yolov7-e6e.yaml", hw=P6),
    Case("orepa", "RepConv_OREPA as trained: a kernel that is a sum of five", OREPA, width=1 / 16, change=spread_gains),
    Case("blocks", "Stem, GhostSPPCSPC, CSP forms A to C, Chuncat, Foldcut, RobustConv", BLOCKS, width=1 / 16),
    Case("bins", "IBin: each size is one of 21 bins and a part of its width", BINS, width=1 / 16),
)  # fmt: skip
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations named by a path are upstream's, read when this",
    "runs, with the channels divided by 64 (8 at least) and own classes and anchors; columns of `pred` are x, y, w, h",
    "(px), objectness, classes.",
)

if __name__ == "__main__":
    main("tests.data.yolov7.make_vectors", "YOLOv7", ABOUT, CASES)
