"""What a build takes the place of: every trainer names its result best.pt, so it may be the bundle of another one."""

from __future__ import annotations

from pathlib import Path

from rkdeploy.bundle import read_bundle
from rkdeploy.errors import RkdeployError, shown


def replaced_note(folder: Path, sha256: str, input_hw: tuple[int, int]) -> str:
    """A sentence for the user; empty where the place is free, or is the same model's of the same size.

    Args:
        folder: where the bundle goes.
        sha256: of the checkpoint or ONNX file that is built.
        input_hw: (height, width) of the new bundle's network, in pixels.
    """
    if not folder.is_dir():
        return ""
    try:
        old = read_bundle(folder, check_hashes=False)
        record = old.record
    except RkdeployError:  # a damaged bundle is no loss
        return ""
    old_hw = (old.spec.input.height, old.spec.input.width)
    if record.source.sha256 != sha256:
        what = f"that of another {shown(record.source.file)[1:-1]}, built {record.created[:10]}"
    elif old_hw != input_hw:
        what = f"for {old_hw[1]}x{old_hw[0]} (width x height)"
    else:
        return ""
    return f'This build replaces the bundle "{folder}", which is {what}. Another --out keeps both.'
