"""Run on the emulated board: what `pyav-rkmpp` has, and how a video is read with it.  Prints one JSON object.

    python video_probe.py CLIP

CLIP: a video of 192x108, whose input of 64x64 is made from the planes of its pictures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.stream.sources.hardware_decoder import DECODERS
from rkdeploy.device.stream.sources.video_file import VideoFile
from rkdeploy.images.fit import Letterbox


def main() -> None:
    """Read the clip and print."""
    fit = Letterbox(InputSpec("images", 64, 64))
    source = VideoFile("clip", Path(sys.argv[1]))
    farthest = 0
    with source as frames:
        decoder, count = source.decoder, 0
        for frame in frames:
            ours = frame.picture.fitted(fit).image.copy()
            theirs = fit(frame.image).image
            farthest = max(farthest, int(np.abs(ours.astype(int) - theirs).max()))
            count += 1
    found = {
        "version": av.__version__,
        "decoders": sorted(set(DECODERS.values()) & av.codecs_available),
        "encoders": sorted({"h264_rkmpp", "hevc_rkmpp", "mjpeg_rkmpp"} & av.codecs_available),
        "filters": sorted({"hwupload", "hwdownload", "scale_rkrga"} & av.filter.filters_available),
        "devices": av.codec.hwaccel.hwdevices_available(),
        "decoder": decoder,
        "frames": count,
        "farthest": farthest,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
