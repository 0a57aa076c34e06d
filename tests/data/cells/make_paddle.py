r"""Make PicoDet's and PP-YOLOE's reference vectors: heads of the real PaddleDetection behind three convolutions.

    git clone --depth 1 https://github.com/PaddlePaddle/PaddleDetection upstream/PaddleDetection
    pip install paddlepaddle==2.6.2 paddle2onnx==1.2.11 "numpy<2" "onnx<1.17" "protobuf<5" pyyaml requests six scipy \
        tqdm
    python -m tests.data.cells.make_paddle --upstream upstream/PaddleDetection --out tests/data/cells

`--case NAME` makes one case.  What the heads import and do not use (COCO's tools, OpenCV, plots) is replaced by
stand-ins.  Weights are random, the same for the same case.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.cells.stand_ins import StandIns

CLASSES = 3
WIDTH = 16
LOSS = types.SimpleNamespace(use_sigmoid=True)
UNUSED = frozenset(
    {"pycocotools", "matplotlib", "mpl_toolkits", "sklearn", "motmetrics", "lap", "cython_bbox", "cv2", "shapely",
     "imgaug", "visualdl", "pandas", "typeguard"}
)  # fmt: skip


def network(head: Any, strides: Sequence[int], ending: Callable[..., Any]) -> Any:
    """A layer: one convolution per level, the head, and what `ending` makes of its results."""
    import paddle

    class Network(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stems = paddle.nn.LayerList(
                [paddle.nn.Conv2D(3, WIDTH, 3, stride=stride, padding=1) for stride in strides]
            )
            self.head, self.ending, self.relu = head, ending, paddle.nn.ReLU()

        def forward(self, image: Any, scale_factor: Any = None) -> Any:
            return self.ending(self.head, [self.relu(stem(image)) for stem in self.stems], scale_factor)

    return Network()


def picodet(hw: tuple[int, int]) -> Any:
    """PicoDet's second head, with its quality branch."""
    from ppdet.modeling.heads.pico_head import PicoFeat, PicoHeadV2
    from ppdet.modeling.layers import MultiClassNMS

    feat = PicoFeat(WIDTH, WIDTH, num_fpn_stride=4, num_convs=2, norm_type="bn", share_cls_reg=True, use_se=True)
    nms = MultiClassNMS(score_threshold=0.025, nms_top_k=100, keep_top_k=20, nms_threshold=0.6)
    return PicoHeadV2(feat, num_classes=CLASSES, fpn_stride=[8, 16, 32, 64], reg_max=7, feat_in_chan=WIDTH, nms=nms,
                      cell_offset=0.5, eval_size=hw, loss_class=LOSS, loss_dfl=None, loss_bbox=None,
                      static_assigner=None, assigner=None)  # fmt: skip


def first_picodet(hw: tuple[int, int]) -> Any:
    """PicoDet's first head."""
    from ppdet.modeling.heads.pico_head import PicoFeat, PicoHead

    feat = PicoFeat(WIDTH, WIDTH, num_fpn_stride=4, num_convs=2, norm_type="bn", share_cls_reg=True)
    return PicoHead(feat, num_classes=CLASSES, fpn_stride=[8, 16, 32, 64], reg_max=7, feat_in_chan=WIDTH,
                    cell_offset=0.5, eval_size=hw, loss_class=LOSS, loss_dfl=None, loss_bbox=None,
                    assigner=None)  # fmt: skip


def ppyoloe(hw: tuple[int, int], **options: Any) -> Any:
    """PP-YOLOE's head, coarse level first, with its attention."""
    from ppdet.modeling.heads.ppyoloe_head import PPYOLOEHead
    from ppdet.modeling.layers import MultiClassNMS

    nms = MultiClassNMS(score_threshold=0.01, nms_top_k=100, keep_top_k=20, nms_threshold=0.7)
    return PPYOLOEHead([WIDTH] * 3, num_classes=CLASSES, fpn_strides=(32, 16, 8), eval_size=hw, nms=nms,
                       static_assigner=None, assigner=None, **options)  # fmt: skip


def processed(head: Any, features: Any, scale_factor: Any) -> Any:
    """The stock export: with suppression."""
    return head.post_process(head(features), scale_factor)


def kept_rows(head: Any, features: Any, scale_factor: Any) -> Any:
    """The export without suppression."""
    if type(head).__name__ == "PPYOLOEHead":
        found = head.post_process(head(features), scale_factor)
        return [one for one in found if one is not None]
    return head.post_process(head(features), scale_factor, export_nms=False)


def raw_rows(head: Any, features: Any, _: Any) -> Any:
    """The export without post-processing, PicoDet's."""
    scores, bins = head(features, export_post_process=False)
    return [*scores, *bins]


def model_zoo(head: Any, features: Any, _: Any) -> Any:
    """The form that rknn_model_zoo's patch gives PP-YOLOE: box bins, scores and their sum of each level."""
    import paddle

    found = []
    for level, feature in enumerate(features):
        average = paddle.nn.functional.adaptive_avg_pool2d(feature, (1, 1))
        bins = head.pred_reg[level](head.stem_reg[level](feature, average))
        logits = head.pred_cls[level](head.stem_cls[level](feature, average) + feature)
        scores = paddle.nn.functional.sigmoid(logits)
        found += [bins, scores, paddle.clip(scores.sum(1, keepdim=True), 0, 1)]
    return found


PICO = (8, 16, 32, 64)
YOLOE = (32, 16, 8)
CASES: dict[str, tuple[Callable[[tuple[int, int]], Any], tuple[int, ...], Callable[..., Any], tuple[int, int]]] = {
    "picodet": (picodet, PICO, processed, (96, 160)),
    "picodet_without_nms": (picodet, PICO, kept_rows, (128, 192)),
    "picodet_raw": (picodet, PICO, raw_rows, (96, 160)),
    "picodet_first": (first_picodet, PICO, kept_rows, (96, 160)),
    "picodet_first_raw": (first_picodet, PICO, raw_rows, (128, 128)),
    "ppyoloe": (ppyoloe, YOLOE, processed, (96, 160)),
    "ppyoloe_without_nms": (lambda hw: ppyoloe(hw, exclude_nms=True), YOLOE, kept_rows, (96, 160)),
    "ppyoloe_one_table": (lambda hw: ppyoloe(hw, exclude_post_process=True), YOLOE, kept_rows, (96, 128)),
    "ppyoloe_model_zoo": (ppyoloe, YOLOE, model_zoo, (96, 160)),
}
WITH_SCALE = frozenset({"picodet", "ppyoloe", "ppyoloe_without_nms"})
"""Cases that divide boxes by the image's scale."""


def randomize(layer: Any) -> None:
    """Weights that make scores and boxes differ from cell to cell."""
    rng = np.random.default_rng(0)
    for name, parameter in layer.named_parameters():
        if "proj_conv" in name or parameter.stop_gradient:
            continue
        size = 0.3 if parameter.ndim == 1 else 2.5 / np.sqrt(np.prod(parameter.shape[1:]))
        values = rng.normal(0, size, parameter.shape).astype(np.float32)
        is_norm = name.endswith(("norm.weight", "bn.weight")) or (parameter.ndim == 1 and name.endswith("weight"))
        parameter.set_value(np.abs(values) + 0.5 if is_norm else values)


def decoded(head: Any, features: Any) -> tuple[Any, Any]:
    """Boxes (rows, 4) in pixels and scores (rows, classes) as the trainer decodes them."""
    if type(head).__name__ == "PPYOLOEHead":
        from ppdet.modeling.bbox_utils import batch_distance2bbox

        scores, distances, points, strides = head(features)
        boxes = batch_distance2bbox(points, distances) * strides
    else:
        scores, boxes = head(features)
    return boxes.numpy()[0], scores.numpy()[0].T


def make(name: str, out: Path) -> None:
    """Write `<name>.onnx` and `<name>.npz`."""
    import paddle
    from paddle.static import InputSpec

    build, strides, ending, hw = CASES[name]
    paddle.seed(0)
    layer = network(build(hw), strides, ending)
    randomize(layer)
    layer.eval()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, *hw), np.uint8)
    image = paddle.to_tensor(pixels.astype(np.float32) / 255)
    boxes, scores = decoded(layer.head, [paddle.nn.functional.relu(stem(image)) for stem in layer.stems])
    inputs = [InputSpec([1, 3, *hw], name="image")]
    if name in WITH_SCALE:
        inputs.append(InputSpec([1, 2], name="scale_factor"))
    static = paddle.jit.to_static(layer, input_spec=inputs)
    with tempfile.TemporaryDirectory() as folder:
        paddle.jit.save(static, f"{folder}/model")
        command = [str(Path(sys.executable).with_name("paddle2onnx")), "--model_dir", folder, "--model_filename",
                   "model.pdmodel", "--params_filename", "model.pdiparams", "--save_file", str(out / f"{name}.onnx"),
                   "--opset_version", "12"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    np.savez_compressed(out / f"{name}.npz", hw=np.array(hw), boxes=boxes, scores=scores)
    print(f"{name}: {(out / f'{name}.onnx').stat().st_size / 1024:.0f} KB, {len(boxes)} rows")


def main() -> None:
    """Make all cases, or one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    sys.path.insert(0, str(arguments.upstream.resolve()))
    import paddle  # noqa: F401  # before the stand-ins, which it would take for the real ones

    sys.meta_path.insert(0, StandIns(UNUSED))
    os.chdir(arguments.upstream)
    for name in [arguments.case] if arguments.case else CASES:
        make(name, out)


if __name__ == "__main__":
    main()
