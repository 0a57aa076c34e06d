"""Make the reference vectors of plate recognizers: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/sirius-ai/LPRNet_Pytorch upstream/LPRNet_Pytorch
git clone --depth 1 --branch plate_color https://github.com/we0091234/crnn_plate_recognition upstream/crnn
pip install "torch>=2.6" numpy
python -m tests.data.text.make_vectors --upstream upstream --out tests/data/text
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.retinaface.make_vectors import photograph, set_at

NARROWER = 8
"""Divisor of LPRNet's channels."""
LPRNET_SCORES = 68
WIDTHS = [4, 4, 6, 6, "M", 8, 8, "M", 10, 10, "M", 12, 16]


def lprnet(upstream: Path) -> tuple[Any, dict[str, Any]]:
    """LPRNet with an eighth of its channels, but for the scores, and what its file holds."""
    import torch

    sys.path.insert(0, str(upstream / "LPRNet_Pytorch"))
    from model.LPRNet import build_lprnet

    model = build_lprnet(8, False, LPRNET_SCORES, 0)
    for name, conv in [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]:
        inputs = {3: 3, 448 + LPRNET_SCORES: 448 // NARROWER + LPRNET_SCORES}.get(conv.in_channels)
        outputs = LPRNET_SCORES if conv.out_channels == LPRNET_SCORES else conv.out_channels // NARROWER
        made = torch.nn.Conv2d(
            inputs or conv.in_channels // NARROWER, outputs, conv.kernel_size, conv.stride, conv.padding
        )
        set_at(model, name, made)
    for name, norm in [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        count = norm.num_features if norm.num_features == LPRNET_SCORES else norm.num_features // NARROWER
        set_at(model, name, torch.nn.BatchNorm2d(count, momentum=None))
    return model, {}


def plate(upstream: Path, class_name: str, colors: int) -> tuple[Any, dict[str, Any]]:
    """A plate network of small widths, and what its file holds next to the state dict."""
    import torch

    sys.path.insert(0, str(upstream / "crnn"))
    import colorNet

    model = getattr(colorNet, class_name)(cfg=WIDTHS, num_classes=78, export=True, color_num=colors)
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.momentum = None
    return model, {"cfg": WIDTHS}


CASES: dict[str, tuple[str, tuple[int, int], Callable[[Path], tuple[Any, dict[str, Any]]]]] = {
    "lprnet": ("LPRNet", (24, 94), lprnet),
    "plate": ("text alone", (48, 168), lambda upstream: plate(upstream, "myNet_ocr_color", 0)),
    "plate_color": ("text and color", (48, 168), lambda upstream: plate(upstream, "myNet_ocr_color", 5)),
    "plate_color_old": ("color without a convolution of its own", (48, 168),
                        lambda upstream: plate(upstream, "myNet_ocr", 5)),
}  # fmt: skip


def record(name: str, upstream: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    _, hw, make = CASES[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, beside = make(upstream)
    mean, std = (127.5, 128.0) if name.startswith("lprnet") else (0.588 * 255, 0.193 * 255)

    def prepared(image: Any) -> Any:
        return torch.from_numpy((image - np.float32(mean)) / np.float32(std))

    with torch.no_grad():
        for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.normal_(0, 0.3)
        model.train()
        for _ in range(6):
            model(prepared(photograph(hw, rng)))
        model.eval()
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    path = out / f"{name}.pth"
    torch.save({**beside, "state_dict": state} if beside else state, path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(loaded["state_dict"] if beside else loaded)
    image = photograph(hw, rng)
    with torch.no_grad():
        found = model(prepared(image))
    outputs = found if isinstance(found, tuple) else (found,)
    text = outputs[0][0].numpy() if name.startswith("lprnet") else outputs[0][0].numpy().T
    assert np.isfinite(text).all()
    assert len(set(text.argmax(axis=0).tolist())) > 2, "the columns say the same"
    kept = {"text": text, **({"attribute": outputs[1][0].numpy()} if len(outputs) > 1 else {})}
    np.savez_compressed(out / f"{name}.npz", input=image.astype(np.uint8), **kept)
    print(json.dumps({"case": name, "best": text.argmax(axis=0).tolist(), "torch": torch.__version__}))


def main() -> None:
    """Make all cases and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for name in CASES:
        record(name, arguments.upstream, arguments.out)
    lines = ["# Written by make_vectors.py", "", "| case | special |", "|---|---|"]
    lines += [f"| `{name}` | {special} |" for name, (special, _, _) in CASES.items()]
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
