"""Facts of a `.rknn` and of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rkdeploy.analysis.inspection.inspection import BundleInspection, Inspection, RknnInspection, listed_names
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.contract.embedded_contract import facts_in
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.runtime.model_file import read_custom_string, read_model_file
from rkdeploy.errors import shown


def inspect_rknn(path: Path) -> Inspection:
    """Read header, trailer and custom string of a `.rknn`.

    Raises:
        BackendError: when it is no `.rknn`, or ends too early.
    """
    model = read_model_file(path)
    targets = ", ".join(shown(target)[1:-1] for target in model.targets) or "unknown"
    rows = [
        ("target", targets),
        ("toolkit", shown(model.toolkit_version)[1:-1] if model.toolkit_version else "unknown"),
        ("file format", str(model.file_version)),
    ]
    contract = facts_in(read_custom_string(path) or "")
    document = RknnInspection(
        file=path.name,
        targets=model.targets,
        toolkit_version=model.toolkit_version,
        file_version=model.file_version,
        contract=contract,
    )
    return Inspection((*rows, *_contract_rows(contract)), document)


def _contract_rows(said: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The essential contract that a `.rknn` has inside, as the file spells it: text of unknown origin."""
    if said is None:
        return [("built by", "something else than rkdeploy: no contract says what its outputs mean")]
    return [
        ("built by", "rkdeploy; it runs with the bundle it came in, which has the whole contract"),
        ("contract", shown(said.get("digest"))[1:-1]),
        ("family", shown(said.get("family"))[1:-1]),
        ("task", shown(said.get("task"))[1:-1]),
        ("input", shown(said.get("input"))),
        ("classes", f"{shown(said.get('classes'))}: {shown(said.get('names'), 200)}"),
    ]


def inspect_bundle(folder: Path) -> Inspection:
    """Read a bundle's contract and check its hashes.

    Raises:
        BundleError: when it is not a bundle, or is damaged.
    """
    bundle = read_bundle(folder)
    spec, model = bundle.spec, bundle.model
    rows = [
        ("model", f"{model.file}: {model.target}, {model.dtype}; every hash holds"),
        ("family", spec.family),
        ("task", spec.task),
        ("classes", listed_names(spec.class_names)),
        ("input", f"{spec.input.width}x{spec.input.height} (width x height), {spec.input.color}, {spec.input.fit}"),
        ("outputs", ", ".join(f"{o.name} {o.shape}" for o in spec.outputs)),
        *([] if spec.form == "rkdeploy" else [("form", spec.form)]),
        *_head_rows(spec),
    ]
    return Inspection(tuple(rows), BundleInspection(file=folder.resolve().name, contract=spec))


def _head_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    rows = []
    if spec.anchors is not None:
        levels = " | ".join(" ".join(f"{w:.6g},{h:.6g}" for w, h in level) for level in spec.anchors.levels_px)
        rows.append(("anchors", f"{levels} px"))
    if spec.keypoints is not None:
        scored = "with" if spec.keypoints.scored else "without"
        rows.append(("keypoints", f"{spec.keypoints.count}, {scored} visibility"))
    if spec.class_maps:
        rows.append(("maps", ", ".join(found.output for found in spec.class_maps)))
    return rows
