"""Detect in a folder of images and write one COCO JSON file, for FiftyOne, CVAT or pycocotools.

python folder_to_coco.py BUNDLE FOLDER OUT.json
"""

import json
import sys
from pathlib import Path

import rkdeploy


def main(bundle: str, folder: str, output: str) -> None:
    """Write the file, and print how many objects it has."""
    with rkdeploy.load(bundle) as model:
        found = rkdeploy.to_coco(model.stream(folder))
    Path(output).write_text(json.dumps(found), encoding="utf-8")
    print(f"{len(found['images'])} images, {len(found['annotations'])} objects: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
