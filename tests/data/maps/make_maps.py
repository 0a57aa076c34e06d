"""Make ONNX files whose outputs are maps of the whole image, as torchvision and transformers compute them.

The networks are the packages' own classes with tiny widths and seeded random weights, exported by torch; the files are
the reference themselves, since each contains its package's own decode.  `tail_*` are one small network with the ends
that exporters write.

    pip install torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 onnx==1.23.2
    python -m tests.data.maps.make_maps --out tests/data/maps
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

HW = (64, 96)
End = Callable[[Any, Any], Any]


class Small(nn.Module):
    """Three convolutions down to an eighth of the image, and an end."""

    def __init__(self, planes: int, end: End | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, planes, 1)
        )
        self.end = end

    def forward(self, image: Any) -> Any:
        scores = self.layers(image)
        return scores if self.end is None else self.end(scores, image.shape[2:])


class Chosen(nn.Module):
    """A network of which one result, or two, are the outputs."""

    def __init__(self, network: nn.Module, *names: str) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, image: Any) -> Any:
        found = self.network(image)
        values = [found[name] for name in self.names]
        return values[0] if len(values) == 1 else tuple(values)


class LastImage(nn.Module):
    """NHWC images, as TensorFlow has them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Any) -> Any:
        return self.network(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def enlarged(scores: Any, hw: Any, *, corners: bool = False) -> Any:
    return interpolate(scores, size=hw, mode="bilinear", align_corners=corners)


TAILS: dict[str, tuple[int, End | None]] = {
    "tail_none": (5, None),
    "tail_resize": (5, enlarged),
    "tail_corners": (5, lambda s, hw: enlarged(s, hw, corners=True)),
    "tail_argmax": (5, lambda s, hw: enlarged(s, hw).argmax(1)),
    "tail_argmax_int32": (5, lambda s, hw: enlarged(s, hw).argmax(1, keepdim=True).to(torch.int32)),
    "tail_corners_softmax": (5, lambda s, hw: enlarged(s, hw, corners=True).softmax(1)),
    "tail_softmax_resize": (5, lambda s, hw: enlarged(s.softmax(1), hw)),
    "tail_nearest": (5, lambda s, hw: interpolate(s, size=hw, mode="nearest")),
    "tail_nhwc": (5, lambda s, _: s.permute(0, 2, 3, 1)),
    "tail_two": (2, enlarged),
    "tail_sigmoid": (1, lambda s, hw: enlarged(s, hw).sigmoid()),
    "tail_above": (1, lambda s, hw: (enlarged(s, hw).squeeze(1) > 0).to(torch.uint8)),
    "tail_value": (1, lambda s, hw: enlarged(s.relu(), hw, corners=True).squeeze(1)),
}


def torchvision_networks() -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    from torchvision.models import mobilenetv3
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation import fcn, lraspp

    def features() -> Any:
        settings, last = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.1, dilated=True)
        return mobilenetv3.MobileNetV3(settings[:5], last).features

    low, high = features(), features()
    channels = [m.out_channels for m in (low[1], low[4])]
    raspp = lraspp.LRASPP(
        IntermediateLayerGetter(low[:5], {"1": "low", "4": "high"}), channels[0], channels[1], 5, inter_channels=8
    )
    fcn_backbone = IntermediateLayerGetter(high[:5], {"1": "aux", "4": "out"})
    full = fcn.FCN(fcn_backbone, fcn.FCNHead(channels[1], 5), fcn.FCNHead(channels[0], 5))
    return {"torchvision_lraspp": (raspp, ("out",)), "torchvision_fcn_aux": (full, ("out", "aux"))}


def transformers_networks() -> dict[str, tuple[nn.Module, str]]:
    import transformers as t

    segformer = t.SegformerForSemanticSegmentation(
        t.SegformerConfig(
            num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[8, 16], patch_sizes=[7, 3],
            strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=5,
        )
    )  # fmt: skip
    dino = t.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    anything = t.DepthAnythingForDepthEstimation(
        t.DepthAnythingConfig(
            backbone_config=dino, reassemble_hidden_size=16, neck_hidden_sizes=[4, 6, 8, 8], fusion_hidden_size=8,
            head_hidden_size=4, patch_size=14, reassemble_factors=[4, 2, 1, 0.5],
        )
    )  # fmt: skip
    with torch.no_grad():  # the package's own weights are so small that depths would be 1e-8
        for module in anything.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight)
        anything.head.conv3.bias.fill_(1.0)
    return {"segformer": (segformer, "logits"), "depth_anything": (anything, "predicted_depth")}


def export(
    network: nn.Module, path: Path, hw: tuple[int, int], outputs: tuple[str, ...], *, last: bool = False
) -> None:
    """Write one network; `last` for images with their channels last."""
    shape = (1, *hw, 3) if last else (1, 3, *hw)
    torch.onnx.export(
        network.eval(), (torch.zeros(shape),), str(path), opset_version=17, input_names=["image"],
        output_names=list(outputs), dynamo=False,
    )  # fmt: skip


def settle(network: nn.Module, hw: tuple[int, int]) -> None:
    """Give BatchNorms the statistics of noise, so that activations vary."""
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(torch.rand(2, 3, *hw))
        network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.manual_seed(3)
    for name, (planes, end) in TAILS.items():
        export(Small(planes, end), out / f"{name}.onnx", HW, ("out",))
    export(Small(21), out / "tail_513.onnx", (513, 513), ("logits",))
    export(LastImage(Small(5)), out / "tail_nhwc_image.onnx", HW, ("out",), last=True)
    for name, (network, names) in torchvision_networks().items():
        settle(network, HW)
        export(Chosen(network, *names), out / f"{name}.onnx", HW, names)
    for name, (network, result) in transformers_networks().items():
        hw = (56, 84) if name == "depth_anything" else HW
        export(Chosen(network, result), out / f"{name}.onnx", hw, (result,))
    for path in sorted(out.glob("*.onnx")):
        print(f"{path.name:32s} {path.stat().st_size / 1024:6.1f} KB")


if __name__ == "__main__":
    main()
