"""Writes rkdeploy/doctor/trial.mp4, the H.264 video that `rkdeploy doctor` decodes: 8 gray frames of 64x48 pixels.

    python -m tests.doctor.make_trial_video

Made with PyAV's libx264, baseline profile; the frames' gray values are 40, 60, ..., 180.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rkdeploy.doctor.trials import VIDEO, VIDEO_GRAYS

SIZE_WH: Final = (64, 48)


def main() -> None:
    """Write the file anew."""
    import av  # its size is asked where PyAV is not installed

    with av.open(str(VIDEO), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        stream.options = {"profile": "baseline", "preset": "veryslow", "x264-params": "no-info=1"}
        for gray in VIDEO_GRAYS:
            picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), gray, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
