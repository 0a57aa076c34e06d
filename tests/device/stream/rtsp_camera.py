"""A loopback RTSP camera: H.264, 640x480, 15 frames per second, at rtsp://127.0.0.1:PORT/cam.

It runs in the system's Python, with Debian's gst-rtsp-server:

    apt-get install --no-install-recommends python3-gi gir1.2-gst-rtsp-server-1.0 \\
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
    /usr/bin/python3 tests/device/stream/rtsp_camera.py PORT [SECONDS]
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=480,framerate=15/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print("ready", flush=True)
loop = GLib.MainLoop()
GLib.timeout_add_seconds(int(sys.argv[2]) if len(sys.argv) > 2 else 120, loop.quit)
loop.run()
