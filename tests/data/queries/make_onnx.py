"""Make small ONNX files of detectors with queries, as their packages export them, and record what torch answers.

Each is a tiny seeded model of the package's own code, exported by torch as the package does; `<case>.npz` holds the
input and the package's logits and boxes before any selection.  Nothing of the packages is kept here.

    pip install torch transformers==5.24.0 ultralytics==8.4.190 onnx onnxslim
    git clone https://github.com/lyuwenyu/RT-DETR; git clone https://github.com/Peterande/D-FINE
    python -m tests.data.queries.make_onnx --rtdetr RT-DETR/rtdetrv2_pytorch --dfine D-FINE --out tests/data/queries
"""

from __future__ import annotations

import argparse
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.data.rtdetr.make_vectors import around_zero

CLASSES, QUERIES, WIDTH, SIDE = 4, 20, 16, 96
COMMON = {
    "num_labels": CLASSES, "num_queries": QUERIES, "d_model": WIDTH, "encoder_hidden_dim": WIDTH,
    "encoder_in_channels": [WIDTH] * 3, "encoder_ffn_dim": 32, "encoder_attention_heads": 2,
    "decoder_in_channels": [WIDTH] * 3, "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_attention_heads": 2,
    "decoder_n_points": 2, "num_denoising": 0, "hidden_expansion": 0.5,
}  # fmt: skip
"""Of Hugging Face's configurations."""
UPSTREAM = {
    "num_classes": CLASSES, "hidden_dim": WIDTH, "num_queries": QUERIES, "feat_channels": [WIDTH] * 3, "num_levels": 3,
    "num_points": [2, 2, 2], "nhead": 2, "num_layers": 2, "dim_feedforward": 32, "num_denoising": 0,
    "eval_spatial_size": [SIDE, SIDE],
}  # fmt: skip
"""Of the decoders in the authors' repositories."""


class Outputs(nn.Module):
    """A model of Hugging Face with the outputs of its exporter."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Any) -> tuple[Any, Any]:
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


def hf_rtdetr() -> Any:
    """RT-DETR of Hugging Face."""
    import transformers

    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, WIDTH, WIDTH, WIDTH], depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(backbone_config=backbone, **COMMON))


def hf_dfine() -> Any:
    """D-FINE of Hugging Face."""
    import transformers

    backbone = transformers.HGNetV2Config(
        embedding_size=8, stem_channels=[3, 8, 8], stage_in_channels=[8, 8, WIDTH, WIDTH], stage_mid_channels=[8] * 4,
        stage_out_channels=[8, WIDTH, WIDTH, WIDTH], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
        stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5], hidden_sizes=[8, WIDTH, WIDTH, WIDTH], depths=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.DFineConfig(backbone_config=backbone, **{**COMMON, "decoder_n_points": [2, 2, 2]})
    return transformers.DFineForObjectDetection(config)


def hf_rfdetr() -> Any:
    """RF-DETR of Hugging Face, with its position encoding of the one size, as Roboflow's exporter has it."""
    import transformers

    backbone = transformers.RfDetrDinov2Config(
        hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=112, patch_size=14,
        num_windows=2, out_features=["stage1", "stage3"], num_register_tokens=0,
    )  # fmt: skip
    config = transformers.RfDetrConfig(
        backbone_config=backbone, num_labels=CLASSES, d_model=WIDTH, decoder_ffn_dim=32, decoder_layers=2,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, decoder_n_points=2, num_queries=QUERIES,
        group_detr=2, c2f_num_blocks=1, intermediate_size=32, auxiliary_loss=False,
    )  # fmt: skip
    model = transformers.RfDetrForObjectDetection(config)
    for module in model.modules():
        if hasattr(module, "interpolate_pos_encoding"):
            module.interpolate_pos_encoding = lambda *_args, owner=module: owner.position_embeddings
    return model


class Backbone(nn.Module):
    """Three levels of plain convolutions."""

    def __init__(self) -> None:
        super().__init__()
        step = [nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.ReLU()]
        self.first = nn.Sequential(nn.Conv2d(3, WIDTH, 3, 4, 1), nn.ReLU(), *step)
        self.second = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.ReLU())

    def forward(self, images: Any) -> list[Any]:
        first = self.first(images)
        second = self.second(first)
        return [first, second, self.third(second)]


class Deployed(nn.Module):
    """The authors' exported form: the image's size as an input, and the best pairs in its pixels."""

    def __init__(self, encoder: Any, decoder: Any, postprocessor: Any) -> None:
        super().__init__()
        self.backbone, self.encoder, self.decoder, self.postprocessor = Backbone(), encoder, decoder, postprocessor

    def raw(self, images: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.decoder(self.encoder(self.backbone(images)))
        return found

    def forward(self, images: Any, orig_target_sizes: Any) -> Any:
        return self.postprocessor(self.raw(images), orig_target_sizes)


def authors(root: Path, package: str) -> Any:
    """The authors' model of a checkout, without importing what only their training needs."""
    for name in [name for name in sys.modules if name == "src" or name.startswith("src.")]:
        del sys.modules[name]
    for name, folder in (("src", "src"), ("src.zoo", "src/zoo"), (f"src.zoo.{package}", f"src/zoo/{package}")):
        module = types.ModuleType(name)
        module.__path__ = [str(root / folder)]
        sys.modules[name] = module
    core = types.ModuleType("src.core")
    core.register = lambda *_a, **_k: lambda kind: kind  # type: ignore[attr-defined]
    sys.modules["src.core"] = core
    encoder_of = {"in_channels": [WIDTH] * 3, "hidden_dim": WIDTH, "dim_feedforward": 32, "nhead": 2,
                  "expansion": 0.5, "depth_mult": 0.34, "eval_spatial_size": [SIDE, SIDE]}  # fmt: skip
    if package == "rtdetr":
        from src.zoo.rtdetr.hybrid_encoder import HybridEncoder
        from src.zoo.rtdetr.rtdetr_postprocessor import RTDETRPostProcessor as PostProcessor
        from src.zoo.rtdetr.rtdetrv2_decoder import RTDETRTransformerv2 as Decoder

        decoder = Decoder(**UPSTREAM)
    else:
        from src.zoo.dfine.dfine_decoder import DFINETransformer as Decoder
        from src.zoo.dfine.hybrid_encoder import HybridEncoder
        from src.zoo.dfine.postprocessor import DFINEPostProcessor as PostProcessor

        decoder = Decoder(**UPSTREAM, reg_max=8)
    return Deployed(HybridEncoder(**encoder_of), decoder, PostProcessor(num_classes=CLASSES, num_top_queries=QUERIES))


def randomise(model: Any, run: Any, images: Any) -> None:
    """Weights such that scores and boxes spread."""
    g = torch.Generator().manual_seed(5)

    def normal(t: Any, deviation: float, mean: float = 0.0) -> None:
        t.copy_(torch.randn(t.shape, generator=g) * deviation + mean)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                normal(module.weight, (1.2 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    normal(module.bias, 0.3)
            elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)) and module.weight is not None:
                normal(module.weight, 0.2, 1.0)
                normal(module.bias, 0.2)
        last = [
            module for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == 4 and "bbox" in name
        ]  # fmt: skip
        hooks = [module.register_forward_hook(around_zero) for module in last]
        model.eval()
        run(images)
        for hook in hooks:
            hook.remove()
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and ("class_embed" in name or "score_head" in name):
                module.bias.sub_(0.6)


def export(model: Any, given: tuple[Any, ...], path: Path, inputs: list[str], outputs: list[str]) -> None:
    """As the packages do; then made smaller, as their --simplify does."""
    import onnx
    import onnxslim

    free = {name: {0: "N"} for name in inputs} if len(inputs) > 1 else None
    torch.onnx.export(
        model, given, str(path), input_names=inputs, output_names=outputs, opset_version=17, dynamo=False,
        dynamic_axes=free,
    )  # fmt: skip
    onnx.save(onnxslim.slim(onnx.load(str(path)), model_check=False), str(path))
    print(f"{path.name:24s} {path.stat().st_size / 1024:.0f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rtdetr", type=Path, required=True)
    parser.add_argument("--dfine", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    makers = {
        "hf_rtdetr": hf_rtdetr,
        "hf_dfine": hf_dfine,
        "hf_rfdetr": hf_rfdetr,
        "rtdetrv2": lambda: authors(args.rtdetr.resolve(), "rtdetr"),
        "dfine": lambda: authors(args.dfine.resolve(), "dfine"),
    }
    for name, make in makers.items():
        torch.manual_seed(zlib.crc32(name.encode()))
        model = make()
        side = 112 if name == "hf_rfdetr" else SIDE
        images = torch.rand(4, 3, side, side)
        by_hugging_face = name.startswith("hf_")
        raw = (lambda x, m=model: m(pixel_values=x)) if by_hugging_face else model.raw
        randomise(model, raw, images)
        for module in model.modules():
            if hasattr(module, "convert_to_deploy"):
                module.convert_to_deploy()
        x8 = np.random.default_rng(3).integers(0, 256, (1, 3, side, side), np.uint8)
        with torch.no_grad():
            found = raw(torch.from_numpy(x8).float() / 255)
        logits, boxes = (found.logits, found.pred_boxes) if by_hugging_face else (
            found["pred_logits"], found["pred_boxes"]
        )  # fmt: skip
        pred = torch.cat([boxes[0], logits[0].sigmoid()], 1).numpy()
        assert pred[:, 4:].std() > 0.02, "scores hardly vary"
        assert pred[:, :4].std(axis=0).min() > 0.002, f"boxes hardly vary: {pred[:, :4].std(axis=0)}"
        np.savez_compressed(args.out / f"{name}.npz", input=x8, pred=pred)
        path = args.out / f"{name}.onnx"
        if by_hugging_face:
            export(Outputs(model).eval(), (images[:1],), path, ["pixel_values"], ["logits", "pred_boxes"])
        else:
            model.postprocessor.deploy()
            size = torch.tensor([[side, side]])
            export(model, (images[:1], size), path, ["images", "orig_target_sizes"], ["labels", "boxes", "scores"])


if __name__ == "__main__":
    main()
