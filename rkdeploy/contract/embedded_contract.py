"""The essential contract as short text, which the toolkit keeps in the `.rknn` itself.

It identifies a lone `.rknn`, and a runtime that is given a contract can see whether the model was built with it:
two models of one architecture have the same tensors, and differ in nothing that a runtime would refuse.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec

_MAX_BYTES: Final = 1023
_DIGEST: Final = "digest"
_NOT_IN_IT: Final = frozenset({"quantization", "model"})
"""Fields that are known only after the build, when the string is in the model already."""


def custom_string(spec: ModelSpec) -> str:
    """The text for a contract: JSON in ASCII, fewer than 1,024 bytes.

    Class names go in as far as they fit, their number always; outputs and anchors are left out where they do not fit.
    The digest is of the whole contract, but for scales, zero points and the names of model and target.
    """
    essential: dict[str, object] = {
        "rkdeploy": spec.schema_version,
        _DIGEST: contract_digest(spec),
        "family": spec.family,
        "task": spec.task,
        "input": [spec.input.height, spec.input.width, spec.input.color],
        "outputs": [[o.role, o.stride, o.activation] for o in spec.outputs],
        "anchors": spec.anchors.levels_px if spec.anchors else None,
        "classes": len(spec.class_names),
    }
    names: list[str] = []
    text = _ascii_json({**essential, "names": names})
    for name in spec.class_names:
        longer = _ascii_json({**essential, "names": [*names, name]})
        if len(longer) > _MAX_BYTES:
            break
        names.append(name)
        text = longer
    if len(text) > _MAX_BYTES:
        text = _ascii_json({k: v for k, v in essential.items() if k not in ("outputs", "anchors")})
    return text


def contract_digest(spec: ModelSpec) -> str:
    """16 hex digits over everything in a contract that is known before the model is built.

    Fields with their default value are left out, so that a field that a later version adds changes no digest.
    """
    return hashlib.sha256(_ascii_json(_said(spec)).encode("ascii")).hexdigest()[:16]


def differences(text: str, spec: ModelSpec) -> tuple[str, ...]:
    """Differences between a model's custom string and a contract, each as "<what>: <the model's>, <the contract's>".

    Empty where both agree, and for text that is not ours: then nothing is known.
    """
    said = facts_in(text)
    if said is None:
        return ()
    expected: dict[str, Any] = json.loads(custom_string(spec))
    found = [
        f"{key}: {_short(said[key])} in the model, {_short(expected[key])} in the contract"
        for key in said
        if key in expected and key != _DIGEST and said[key] != expected[key]
    ]
    if not found and said.get(_DIGEST, expected[_DIGEST]) != expected[_DIGEST]:
        found.append(f"digest: {_short(said[_DIGEST])} in the model, {expected[_DIGEST]} of the contract")
    return tuple(found)


def facts_in(text: str) -> dict[str, Any] | None:
    """The facts in a custom string; None for text that is not ours."""
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and "rkdeploy" in said else None


def _said(value: Any) -> Any:
    """Frozen dataclasses as plain data, without fields that have their default value; 8 and 8.0 are the same number."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: _said(given)
            for field in dataclasses.fields(value)
            if field.name not in _NOT_IN_IT and (given := getattr(value, field.name)) != field.default
        }
    if isinstance(value, (list, tuple)):
        return [_said(item) for item in value]
    return float(value) if type(value) is int else value


def _ascii_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _short(value: object) -> str:
    text = _ascii_json(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
