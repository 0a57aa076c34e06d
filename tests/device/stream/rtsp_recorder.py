"""A loopback RTSP server that video is sent to, at rtsp://127.0.0.1:PORT/live; what it gets is appended to a file.

It runs in the system's Python, with the packages that `rtsp_camera.py` names:

    /usr/bin/python3 tests/device/stream/rtsp_recorder.py PORT FILE
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
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.set_launch(
    "( rtph264depay name=depay0 ! video/x-h264,stream-format=byte-stream,alignment=au "
    f"! filesink async=false append=true buffer-mode=unbuffered location={sys.argv[2]} )"
)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
loop = GLib.MainLoop()
GLib.timeout_add_seconds(60, loop.quit)
loop.run()
