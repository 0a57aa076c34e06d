"""The reference cases: one small model each, in the blocks of one family of the Ultralytics package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NEW = "8.4.190"
THU = "yolov10"  # the fork that YOLOv10 was published with, of 8.1.34
Layer = list[Any]
Config = dict[str, Any]


@dataclass(frozen=True)
class Case:
    name: str
    cfg: str | Config  # path of a yaml of the package, or a configuration of our own
    special: str
    task: str = "detect"  # detect, segment, pose, obb, classify, semantic, depth
    release: str = NEW
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    width: float = 1 / 32
    depth: float = 0.1
    scale: str = "n"
    reg_max: int | None = 4  # None: the yaml's own; 1 for YOLO26; 16 where the release knows no other
    kpt_shape: tuple[int, int] | None = None
    activation: str | None = None
    end2end: bool | None = None  # overrides the yaml's
    save: str = "best"  # best (stripped), last
    fuse: str = "no"  # no, one2many, one2one
    dill: bool = False  # saved where dill is installed, which old releases then use


def small(
    block3: Layer,
    block4: Layer,
    pool: Layer,
    head: list[Any],
    *,
    up: Layer | None = None,
    down: str = "Conv",
    out: Layer | None = None,
) -> Config:
    """Two levels, P3 and P4.  Layers: 0-2 stem, 3 `block3`, 4 `down`, 5 `block4`, 6 `pool`, 7 up, 8 Concat, 9 `out`."""
    return {
        "backbone": [
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "Conv", [128, 3, 2]],
            [-1, 1, "Conv", [256, 3, 2]],
            [-1, *block3],
            [-1, 1, down, [512] if down in ("AConv", "ADown") else [512, 3, 2]],
            [-1, *block4],
            [-1, *pool],
        ],
        "head": [
            [-1, *(up or [1, "nn.Upsample", [None, 2, "nearest"]])],
            [[-1, 3], 1, "Concat", [1]],
            [-1, *(out or block3)],
            [[9, 6], 1, *head],
        ],
    }


def one_level(blocks: list[Layer], head: list[Any]) -> Config:
    """P3 alone: two convolutions down to stride 8, then the blocks one after another."""
    stem = [[-1, 1, "Conv", [64, 3, 4]], [-1, 1, "Conv", [256, 3, 2]]]
    return {"backbone": [*stem, *([-1, *b] for b in blocks)], "head": [[[1 + len(blocks)], 1, *head]]}


def pyramid(low: int, high: int, block: Layer, pool: Layer, head: list[Any]) -> Config:
    """Levels P`low` to P`high`: a plain backbone, one pooling block, a top-down path of `block`s."""
    downs = [[-1, 1, "Conv", [min(32 << level, 256), 3, 2]] for level in range(1, high + 1)]
    layers: list[Any] = []
    outputs = [high]  # layer of each level: P1 is layer 0, the pooling block comes after the top
    for level in range(high - 1, low - 1, -1):
        layers += [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, level - 1], 1, "Concat", [1]]]
        layers.append([-1, block[0], block[1], [min(32 << level, 256), *block[2][1:]]])
        outputs.insert(0, high + len(layers))
    return {"backbone": [*downs, [-1, *pool]], "head": [*layers, [outputs, 1, *head]]}


DETECT = ["Detect", ["nc"]]
C2F, C2F4 = [3, "C2f", [256, True]], [3, "C2f", [512, True]]
SPPF = [1, "SPPF", [512, 5]]
K3, K4 = [2, "C3k2", [256, False, 0.25]], [2, "C3k2", [512, True]]
SPPF26 = [1, "SPPF", [512, 5, 3, True]]
K26 = [1, "C3k2", [256, True, 0.5, True]]  # Bottleneck and attention, as the last block of YOLO26
E26 = {"end2end": True, "reg_max": 1}
KEEP: dict[str, Any] = {"reg_max": None}


def level8(head: list[Any] = DETECT) -> Config:
    return one_level([C2F, SPPF], head)


def level11(head: list[Any] = DETECT) -> Config:
    return one_level([K3, [1, "C2PSA", [256]]], head)


def level26(head: list[Any] = DETECT) -> Config:
    return {**one_level([[2, "C3k2", [256, True]], SPPF26, K26], head), **E26}


LIGHT = [1, "Conv", [256, 1, 1]]
V10_CIB = [3, "C2fCIB", [256, True]]
V10_LK = [3, "C2fCIB", [256, True, True]]
RELAN = [1, "RepNCSPELAN4", [256, 16, 8, 2]]
SPPELAN = [1, "SPPELAN", [256, 8]]
CB = {  # as YOLOv9e's second backbone
    "backbone": [
        [-1, 1, "nn.Identity", []],
        [-1, 1, "Conv", [8, 3, 4]],
        [-1, 1, "ADown", [16]],
        [-1, 1, "ADown", [24]],
        [1, 1, "CBLinear", [[8]]],
        [2, 1, "CBLinear", [[8, 16]]],
        [3, 1, "CBLinear", [[8, 16, 24]]],
        [0, 1, "Conv", [8, 3, 4]],
        [[4, 5, 6, -1], 1, "CBFuse", [[0, 0, 0]]],
        [-1, 1, "ADown", [16]],
        [[5, 6, -1], 1, "CBFuse", [[1, 1]]],
        [-1, 1, "ADown", [24]],
        [[6, -1], 1, "CBFuse", [[2]]],
    ],
    "head": [[[10, 12], 1, "Detect", ["nc"]]],
}
POSE = ["Pose", ["nc", "kpt_shape"]]
POSE26 = ["Pose26", ["nc", "kpt_shape"]]
SEGMENT8 = ["Segment", ["nc", 8, 256]]
CLS = [[-1, 1, "Classify", ["nc"]]]
WIDE_STEM = [[-1, 1, "Conv", [16, 3, 4]], [-1, 1, "Conv", [16, 3, 2]]]  # for blocks that need many channels inside
HEADS11 = {  # in 8.3.0 attention takes one head for each 64 channels, at least 64
    "backbone": [*WIDE_STEM, [-1, 1, "C2PSA", [16, 8.0]], [-1, 1, "C3k2", [16, True]]],
    "head": [[[3], 1, *DETECT]],
}
A2C2F = {
    "backbone": [
        *WIDE_STEM,
        [-1, 1, "A2C2f", [16, True, 4, False, 1.2, 4.0]],
        [-1, 1, "A2C2f", [16, False, -1, False, 2.0, 2.0]],
    ],
    "head": [[[3], 1, *DETECT]],
}
A2C2F_X = {
    "backbone": [
        *WIDE_STEM[:1],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 4, "A2C2f", [64, True, 1]],
        [-1, 1, "Conv", [16, 1, 1]],
    ],
    "head": [[[3], 1, *DETECT]],
}


def cls(config: Config) -> Config:
    return {"backbone": config["backbone"], "head": CLS}


CASES = (
    # detect
    Case(
        "v3u",
        one_level([[2, "Bottleneck", [256]], [1, "SPP", [256, [3, 5]]], [1, "C2", [256, True]]], DETECT),
        "Bottlenecks repeated, SPP, C2",
        depth=1.0,
    ),
    Case(
        "v5u",
        one_level([[6, "C3", [256]], SPPF], DETECT),
        "C3 of two Bottlenecks; activation: torch.nn.LeakyReLU(0.1)",
        depth=0.33,
        activation="torch.nn.LeakyReLU(0.1)",
    ),
    Case(
        "v6",
        {
            **one_level(
                [[2, "Conv", [256, 3, 1]], [1, "Conv", [512, 3, 2]], [1, "nn.ConvTranspose2d", [256, 2, 2, 0]]], DETECT
            ),
            "activation": "torch.nn.ReLU()",
        },
        "Convs repeated in a Sequential, ConvTranspose2d, ReLU as its yaml says",
        depth=1.0,
    ),
    Case("v8", small(C2F, C2F4, SPPF, DETECT), "two levels with a top-down path"),
    Case("v8_p2", pyramid(2, 5, LIGHT, SPPF, DETECT), "four levels P2-P5"),
    Case("v8_p6", pyramid(3, 6, LIGHT, SPPF, DETECT), "four levels P3-P6", hw=(64, 128)),
    Case(
        "v8_relu",
        level8(),
        "activation: torch.nn.ReLU(); nc=1; 160x224",
        activation="torch.nn.ReLU()",
        nc=1,
        hw=(160, 224),
    ),
    Case("v8_fused", level8(), "saved after model.fuse()", fuse="one2many"),
    Case(
        "v8_ghost",
        one_level([[1, "GhostConv", [256, 3, 1]], [3, "C3Ghost", [256, True]]], DETECT),
        "GhostConv, C3Ghost",
    ),
    Case(
        "v9t",
        one_level([[1, "ELAN1", [256, 16, 8]], [1, "AConv", [256]], SPPELAN], DETECT),
        "ELAN1, AConv, SPPELAN; stride 16",
    ),
    Case(
        "v9c",
        one_level([RELAN, [1, "ADown", [256]]], DETECT),
        "RepNCSPELAN4 with two RepConvs a branch, ADown; stride 16",
    ),
    Case("v9c_fused", one_level([RELAN], DETECT), "RepConv fused", fuse="one2many"),
    Case("v9e", CB, "CBLinear, CBFuse, Identity; two levels", width=1.0, depth=1.0),
    Case(
        "v10n",
        one_level([[1, "SCDown", [256, 3, 1]], V10_LK, [1, "PSA", [256]]], ["v10Detect", ["nc"]]),
        "v10Detect with both heads and 16 bins, SCDown, C2fCIB with RepVGGDW, PSA; 128x192",
        hw=(128, 192),
        **KEEP,
    ),
    Case(
        "v10_fused",
        one_level([V10_LK, V10_CIB], ["v10Detect", ["nc"]]),
        "fuse() with the one-to-one head selected: RepVGGDW fused, cv2 and cv3 None; C2fCIB without RepVGGDW",
        fuse="one2one",
        **KEEP,
    ),
    Case(
        "v10_thu",
        one_level(  # its PSA has a head for each 128 channels
            [[1, "SCDown", [64, 3, 1]], [1, "Conv", [1024, 1, 1]], [1, "PSA", [1024]], [1, "Conv", [64, 1, 1]], V10_LK],
            ["v10Detect", ["nc"]],
        ),
        "THU-MIG's own package: YOLOv10DetectionModel, whose heads both answer with centers and sizes",
        release=THU,
        width=1 / 8,
        **KEEP,
    ),
    Case(
        "v10_thu_fused",
        one_level([V10_LK, V10_CIB], ["v10Detect", ["nc"]]),
        "THU-MIG's own package, fuse(): both heads kept",
        release=THU,
        fuse="one2one",
        **KEEP,
    ),
    Case("v11n", level11(), "C3k2 of a Bottleneck, C2PSA; nc=80", nc=80),
    Case("v11m", one_level([K3], DETECT), "scale m: C3k in C3k2", scale="m", depth=1.0),
    Case("v12n", A2C2F, "A2C2f: area attention over 4 areas with 2 heads; A2C2f of C3k", width=1.0),
    Case("v12x", A2C2F_X, "scale x: residual gamma, mlp ratio 1.2, one area with 1 head", width=1.0, scale="x"),
    Case(
        "v26n",
        {**small(K3, K4, SPPF26, DETECT, out=K26), **E26},
        "both heads, two levels; Bottleneck with attention; 128x192: more cells than max_det",
        hw=(128, 192),
        **KEEP,
    ),
    Case(
        "v26m",
        {**one_level([K3, SPPF26], DETECT), **E26},
        "scale m: C3k in C3k2, two repeats",
        scale="m",
        depth=1.0,
        **KEEP,
    ),
    Case("v26_o2m", level26(), "end2end: False in the yaml: no one-to-one head", end2end=False, **KEEP),
    Case(
        "v26_fused",
        level26(),
        "fuse() with the one-to-many head selected (the default): one2one_* None",
        fuse="one2many",
        **KEEP,
    ),
    Case(
        "v26_p2",
        {**pyramid(2, 5, LIGHT, SPPF26, DETECT), **E26},
        "P2-P5, fused with the one-to-one head: cv2, cv3 None",
        fuse="one2one",
        **KEEP,
    ),
    Case(
        "v26_p6",
        {**pyramid(3, 6, LIGHT, SPPF26, DETECT), **E26},
        "P3-P6, fused with the one-to-one head",
        hw=(64, 128),
        fuse="one2one",
        **KEEP,
    ),
    Case(
        "v26_last",
        {**one_level([SPPF26], DETECT), **E26},
        "last.pt: weights in ema, optimizer, args as a namespace",
        save="last",
        **KEEP,
    ),
    # segment
    Case("v8_seg", level8(["Segment", ["nc", 32, 256]]), "32 masks, Proto", task="segment"),
    Case("v11_seg", level11(SEGMENT8), "8 masks", task="segment"),
    Case(
        "v26_seg",
        {**small(LIGHT, [1, "Conv", [512, 1, 1]], SPPF26, ["Segment26", ["nc", 8, 256]]), **E26},
        "both heads; Proto26 over two levels",
        task="segment",
        **KEEP,
    ),
    Case(
        "v26_seg_fused",
        {**pyramid(3, 5, LIGHT, SPPF26, ["Segment26", ["nc", 8, 256]]), **E26},
        "Proto26 over three levels, fused with the one-to-one head",
        task="segment",
        fuse="one2one",
        **KEEP,
    ),
    # pose
    Case("v8_pose", level8(POSE), "17 keypoints with visibility; one class", task="pose", nc=1, kpt_shape=(17, 3)),
    Case(
        "v8_pose_2x3",
        small(C2F, C2F4, SPPF, POSE),
        "2 keypoints with visibility, three classes, two levels",
        task="pose",
        kpt_shape=(2, 3),
    ),
    Case("v11_pose_21x2", level11(POSE), "21 keypoints without visibility", task="pose", nc=1, kpt_shape=(21, 2)),
    Case(
        "v26_pose",
        {**one_level([SPPF26], POSE26), **E26},
        "Pose26 with both heads, 5 keypoints with visibility",
        task="pose",
        kpt_shape=(5, 3),
        **KEEP,
    ),
    Case(
        "v26_pose_4x2",
        level26(POSE26),
        "Pose26 without visibility, fused with the one-to-one head",
        task="pose",
        kpt_shape=(4, 2),
        fuse="one2one",
        **KEEP,
    ),
    # obb
    Case("v8_obb", small(C2F, C2F4, SPPF, ["OBB", ["nc", 1]]), "angle in -pi/4 to 3pi/4; two levels", task="obb"),
    Case("v11_obb", level11(["OBB", ["nc", 1]]), "the same in YOLO11's blocks", task="obb"),
    Case("v26_obb", level26(["OBB26", ["nc", 1]]), "OBB26: angle without sigmoid", task="obb", **KEEP),
    # classify
    Case("v8_cls", cls(level8()), "Classify", task="classify", hw=(64, 64), nc=5),
    Case("v11_cls", cls(level11()), "Classify after C2PSA", task="classify", hw=(64, 64), nc=5),
    Case("v26_cls", cls(level26()), "Classify in YOLO26's blocks", task="classify", hw=(64, 64), nc=5),
    # maps of the whole image
    Case(
        "v26_sem",
        small(K3, K4, SPPF26, ["SemanticSegment", ["nc"]], out=K26),
        "SemanticSegment with its auxiliary head, which serves training only; five classes without a background",
        task="semantic",
        nc=5,
        **KEEP,
    ),
    Case(
        "v26_sem_one",
        small(K3, K4, SPPF26, ["SemanticSegment", ["nc"]], out=K26),
        "one class: one plane of logits",
        task="semantic",
        nc=1,
        **KEEP,
    ),
    Case(
        "v26_depth",
        pyramid(3, 5, LIGHT, SPPF26, ["Depth", [32]]),
        "Depth of three levels; calibrated: exp(0.9 log d + 0.2)",
        task="depth",
        nc=1,
        **KEEP,
    ),
    # old releases: 16 bins always
    Case(
        "old_8_0_0",
        level8(),
        "v8 detect; ultralytics.nn.modules.X in one module; args of omegaconf",
        release="8.0.0",
        **KEEP,
    ),
    Case("old_8_0_0_seg", level8(SEGMENT8), "v8 segment, 8 masks", task="segment", release="8.0.0", **KEEP),
    Case(
        "old_8_0_200_pose",
        level8(POSE),
        "v8 pose, 5 keypoints; the criterion stays in the file; saved where dill is installed",
        task="pose",
        kpt_shape=(5, 3),
        release="8.0.200",
        dill=True,
        **KEEP,
    ),
    Case("old_8_0_200_cls", cls(level8()), "v8 classify", task="classify", hw=(64, 64), nc=5, release="8.0.200"),
    Case(
        "old_8_3_0_v11", HEADS11, "YOLO11 when it was new; attention of two heads", release="8.3.0", width=1.0, **KEEP
    ),
    Case("old_8_4_0_v26", level26(), "YOLO26 when it was new: one-to-one by default", release="8.4.0", **KEEP),
)
