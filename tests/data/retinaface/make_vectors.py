"""Make the RetinaFace reference vectors: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/biubug6/Pytorch_Retinaface upstream/Pytorch_Retinaface
git clone --depth 1 https://github.com/biubug6/Face-Detector-1MB-with-landmark upstream/Face-Detector-1MB
pip install "torch>=2.6" torchvision numpy
python -m tests.data.retinaface.make_vectors --upstream upstream --out tests/data/retinaface
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEAN = (104.0, 117.0, 123.0)
MODULES = ("models", "data", "layers", "utils")
"""Top-level packages that both repositories have."""


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        upstream: folder of its repository.
        network: class and configuration there.
        narrower: divisor of its channels, so that the file is small.
        wrapped: True to save it as `DataParallel` of a training run does.
        hw: height and width of the image.
    """

    name: str
    special: str
    upstream: str
    network: tuple[str, str, str]
    narrower: int
    wrapped: bool = False
    hw: tuple[int, int] = (64, 96)


CASES = (
    Case("mobile", "LeakyReLU, anchors of 16 to 512 px", "Pytorch_Retinaface",
         ("models.retinaface", "RetinaFace", "cfg_mnet"), 2),
    Case("resnet50", "ResNet-50; saved from DataParallel", "Pytorch_Retinaface",
         ("models.retinaface", "RetinaFace", "cfg_re50"), 32, wrapped=True),
    Case("mobile_1mb", "the same keys as mobile, but ReLU and anchors of 10 to 256 px", "Face-Detector-1MB",
         ("models.retinaface", "RetinaFace", "cfg_mnet"), 2, hw=(96, 64)),
    Case("slim", "a chain with four levels, 3, 2, 2 and 3 anchors", "Face-Detector-1MB",
         ("models.net_slim", "Slim", "cfg_slim"), 4, hw=(64, 128)),
    Case("rfb", "the chain with an RFB block", "Face-Detector-1MB", ("models.net_rfb", "RFB", "cfg_rfb"), 4,
         hw=(128, 64)),
)  # fmt: skip


def photograph(hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise with the spectrum of photographs, (1, 3, H, W), pixel values 0..255."""
    frequency = np.hypot(np.fft.fftfreq(hw[0])[:, None], np.fft.rfftfreq(hw[1])[None])
    frequency[0, 0] = 1.0
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=hw)) / frequency, s=hw) for _ in range(4)]
    planes = [plane / plane.std() for plane in planes]
    mixed = np.stack([planes[3] + 0.3 * plane for plane in planes[:3]])
    return np.clip(np.round(mixed / mixed.std() * 60 + 110), 0, 255)[None].astype(np.float32)


def build(case: Case, upstream: Path) -> tuple[Any, dict[str, Any], Any, Any]:
    """The case's narrow model, its configuration, and upstream's anchors and box code."""
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        del sys.modules[name]
    sys.path.insert(0, str(upstream / case.upstream))
    try:
        module, class_name, config = case.network
        cfg = dict(getattr(__import__("data", fromlist=[config]), config), pretrain=False)
        model = getattr(__import__(module, fromlist=[class_name]), class_name)(cfg=cfg, phase="test")
        priors = __import__("layers.functions.prior_box", fromlist=["PriorBox"]).PriorBox
        return narrowed(model, case.narrower), cfg, priors, __import__("utils.box_utils", fromlist=["decode"])
    finally:
        sys.path.remove(str(upstream / case.upstream))


def narrowed(model: Any, divisor: int, heads: tuple[str, ...] = ("loc", "conf", "landm")) -> Any:
    """The model with a part of its channels; the outputs of its heads, modules of these names, stay."""
    import torch

    convs = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]
    for name, conv in convs:
        branch = name.split(".")
        is_head = branch[0].endswith("Head") or (branch[0] in heads and branch[-1] in ("2", "3"))
        inputs = conv.in_channels if conv.in_channels == 3 else conv.in_channels // divisor
        outputs = conv.out_channels if is_head else conv.out_channels // divisor
        groups = 1 if conv.groups == 1 else inputs
        made = torch.nn.Conv2d(
            inputs, outputs, conv.kernel_size, conv.stride, conv.padding, conv.dilation, groups, conv.bias is not None
        )
        set_at(model, name, made)
    for name, norm in [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        set_at(model, name, torch.nn.BatchNorm2d(norm.num_features // divisor, eps=norm.eps, momentum=None))
    return model


def set_at(model: Any, path: str, module: Any) -> None:
    """Replace a sub-module."""
    *parents, last = path.split(".")
    for name in parents:
        model = model[int(name)] if name.isdecimal() else getattr(model, name)
    if last.isdecimal():
        model[int(last)] = module
    else:
        setattr(model, last, module)


def record(case: Case, upstream: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, cfg, prior_box, box_code = build(case, upstream)
    mean = np.array(MEAN, np.float32)[None, :, None, None]
    with torch.no_grad():
        for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.normal_(0, 0.3)
        model.train()
        for _ in range(6):
            model(torch.from_numpy(photograph((160, 160), rng) - mean))
        model.eval()
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    if case.wrapped:
        state = {f"module.{name}": value for name, value in state.items()}
    path = out / f"{case.name}.pth"
    torch.save(state, path)
    model.load_state_dict({k.removeprefix("module."): v for k, v in torch.load(path, map_location="cpu").items()})
    image = photograph(case.hw, rng)
    height, width = case.hw
    with torch.no_grad():
        boxes, scores, points = (v[0] for v in model(torch.from_numpy(image - mean)))
        anchors = prior_box(cfg, image_size=case.hw).forward()
        boxes = box_code.decode(boxes, anchors, cfg["variance"]) * torch.tensor([width, height] * 2)
        points = box_code.decode_landm(points, anchors, cfg["variance"]) * torch.tensor([width, height] * 5)
        pred = torch.cat((boxes, scores[:, 1:], points), 1).numpy()
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.02, f"scores hardly vary: {pred[:, 4].std()}"
    np.savez_compressed(out / f"{case.name}.npz", input=image.astype(np.uint8), pred=pred.astype(np.float32))
    print(
        json.dumps({"case": case.name, "rows": len(pred), "score": float(pred[:, 4].std()), "torch": torch.__version__})
    )


def main() -> None:
    """Make all cases and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for case in CASES:
        record(case, arguments.upstream, arguments.out)
    lines = ["# Written by make_vectors.py", "", "| case | special |", "|---|---|"]
    lines += [f"| `{case.name}` | {case.upstream}: {case.special} |" for case in CASES]
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
