"""Write the README of this folder: the table of cases and the globals their pickles name."""

from __future__ import annotations

import json
import pickletools
import zipfile
from pathlib import Path

import numpy as np

HEAD = (Path(__file__).parent / "README.head.md").read_text


def pickle_globals(path: Path) -> set[str]:
    """Every global a checkpoint's pickle names, without running it."""
    with zipfile.ZipFile(path) as z:
        stream = z.read(next(n for n in z.namelist() if n.endswith("data.pkl")))
    found: set[str] = set()
    strings: list[str] = []
    for op, arg, _ in pickletools.genops(stream):
        if op.name == "GLOBAL":
            found.add(str(arg).replace(" ", "."))
        elif op.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
        elif "UNICODE" in op.name:
            strings.append(str(arg))
    return found


def write_readme(out: Path) -> None:
    lines = ["| case | release | task | head | what is special | input | .pt KB | .npz KB |"]
    lines.append("|---|---|---|---|---|---|---:|---:|")
    total, seen, versions = 0, set(), ""
    for npz in sorted(out.glob("*.npz")):
        with np.load(npz) as data:
            meta = json.loads(str(data["meta"]))
        versions = f"torch {meta['torch']}, OpenCV {meta['opencv']}, numpy {np.__version__}"
        pt = npz.with_suffix(".pt")
        size = pt.stat().st_size
        total += size + npz.stat().st_size
        seen |= pickle_globals(pt)
        h, w = meta["input_hw"]
        what = [meta["case"], meta["release"], meta["task"], meta.get("head", "Classify"), meta["special"], f"{h}x{w}"]
        lines.append(f"| {' | '.join(what)} | {size / 1024:.0f} | {npz.stat().st_size / 1024:.0f} |")
    lines += ["", f"{total / 1e6:.1f} MB in all, made with {versions}.", "", "Globals named by these pickles:", ""]
    lines += [f"- `{g}`" for g in sorted(seen)]
    (out / "README.md").write_text(HEAD() + "\n" + "\n".join(lines) + "\n")
