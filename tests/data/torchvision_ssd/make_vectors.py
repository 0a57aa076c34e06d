"""Make the reference vectors of torchvision's SSDLite: checkpoints and outputs written by torchvision's own code.

pip install "torch>=2.6" "torchvision>=0.21" numpy onnx
python -m tests.data.torchvision_ssd.make_vectors --out tests/data/torchvision_ssd
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.faces.make_onnx import settled
from tests.data.retinaface.make_vectors import photograph
from tests.data.yolor.make_vectors import image as blobs
from tests.data.yolor.make_vectors import kept_rows

WIDTH = 1 / 8
EXTRA_WIDTH = 1 / 32
GRAY = 127.5


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        hw: height and width of the image.
        classes: without the background.
        reduced_tail: as networks without weights of a backbone have it.
        exported: whether torch's exporter writes it whole, with its selection.
    """

    name: str
    special: str
    hw: tuple[int, int]
    classes: int
    reduced_tail: bool = True
    exported: bool = False


CASES = (
    Case("lite", "grids of 17x18 to 1x1, three classes, the usual reduced tail", (272, 288), 3, exported=True),
    Case("lite_one_class", "one class; the whole tail, as on a backbone of ImageNet", (272, 288), 1, False),
)


def build(case: Case) -> Any:
    """torchvision's network as `ssdlite320_mobilenet_v3_large` makes it, with an eighth of its channels."""
    import torch
    from torchvision.models.detection import _utils, ssd
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead
    from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

    norm = partial(torch.nn.BatchNorm2d, eps=0.001, momentum=0.03)
    settings, last = _mobilenet_v3_conf("mobilenet_v3_large", width_mult=WIDTH, reduced_tail=case.reduced_tail)
    features = MobileNetV3(settings, last, norm_layer=norm).features
    stages = [i for i, block in enumerate(features) if getattr(block, "_is_cn", False)]
    backbone = SSDLiteFeatureExtractorMobileNet(features, stages[-1], norm, width_mult=EXTRA_WIDTH)
    anchors = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    channels = _utils.retrieve_out_channels(backbone, case.hw)
    head = SSDLiteHead(channels, anchors.num_anchors_per_location(), 1 + case.classes, norm)
    gray = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return ssd.SSD(backbone, anchors, case.hw[::-1], 1 + case.classes, head=head, **gray)


def rows_of(model: Any, image: np.ndarray) -> np.ndarray:
    """Corners in pixels and shares of the classes, (rows, 4 + nc), as `SSD.forward` has them before it selects."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    scaled = torch.from_numpy((image - GRAY) / GRAY).to(next(model.parameters()).dtype)
    with torch.no_grad():
        features = list(model.backbone(scaled).values())
        outputs = model.head(features)
        (anchors,) = model.anchor_generator(ImageList(scaled, [tuple(image.shape[2:])]), features)
        boxes = model.box_coder.decode_single(outputs["bbox_regression"][0], anchors)
        shares = torch.softmax(outputs["cls_logits"][0], dim=-1)
    return torch.cat((boxes, shares[:, 1:]), dim=1).numpy()


def record(case: Case, out: Path) -> None:
    """Make one case's checkpoint and what torchvision computes from it."""
    import torch

    torch.set_num_threads(1)
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build(case)
    batches = [np.concatenate([photograph(case.hw, rng) for _ in range(4)]) for _ in range(20)]  # a level has one cell
    seen = [torch.from_numpy((batch - GRAY) / GRAY) for batch in batches]
    settled(without_losses(model), seen)
    with torch.no_grad():
        for name in ("classification_head", "regression_head"):
            for branch in getattr(model.head, name).module_list:
                branch[1].weight.normal_(0, 0.3)
                branch[1].bias.normal_(0, 0.5)
    path = out / f"{case.name}.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    model.load_state_dict(torch.load(path, map_location="cpu"))
    model.eval()
    image = blobs(case.hw, rng).astype(np.float32)
    pred = rows_of(model, image)
    assert np.isfinite(pred).all()
    assert pred[:, 4:].std() > 0.02, f"scores hardly vary: {pred[:, 4:].std()}"
    assert np.abs(pred - rows_of(model.double(), image.astype(np.float64))).max() < 1e-3, "ill-conditioned"
    rows = kept_rows(len(pred), [6 * n for n in (306, 81, 25, 9, 4, 1)], rng)
    np.savez_compressed(
        out / f"{case.name}.npz", input=image.astype(np.uint8), rows=rows, pred=pred[rows].astype(np.float32)
    )
    if case.exported:
        export(model.float(), case, out / f"{case.name}.onnx")
    print(json.dumps({"case": case.name, "rows": len(pred), "torch": torch.__version__}))


def export(model: Any, case: Case, path: Path) -> None:
    """The whole detector: images from 0 to 1 in; boxes, scores and labels of what it selects out."""
    import torch

    image = torch.rand(1, 3, *case.hw)
    torch.onnx.export(model, (image,), str(path), opset_version=13, input_names=["images"], dynamo=False)


def without_losses(model: Any) -> Any:
    """The network without its losses, which training asks for."""
    import torch

    class Raw(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = model.backbone, model.head

        def forward(self, image: Any) -> Any:
            return self.head(list(self.backbone(image).values()))

    return Raw()


def main() -> None:
    """Make all cases and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for case in CASES:
        record(case, arguments.out)
    lines = ["# Written by make_vectors.py", "", "| case | special |", "|---|---|"]
    lines += [f"| `{case.name}` | {case.special} |" for case in CASES]
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
