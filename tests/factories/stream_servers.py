"""Servers of live video on loopback: GStreamer's RTSP server in a process of its own, and MJPEG over HTTP."""

import http.server
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2

from tests.factories.videos import shade

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's, with python3-gi and gir1.2-gst-rtsp-server-1.0
RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( " + sys.argv[2] + " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_rtsp_server() -> bool:
    """Whether GStreamer's RTSP server is installed, with an encoder."""
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
        "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay')))"
    )
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def repeated_images(folder: Path, fps: int) -> str:
    """A source for `rtsp_server`: 00000.jpg and so on of a folder again and again."""
    jpegs = f'multifilesrc location="{folder}/%05d.jpg" loop=true caps="image/jpeg,framerate={fps}/1"'
    return f"{jpegs} ! jpegdec ! videoconvert ! video/x-raw,format=I420"


@contextmanager
def rtsp_server(port: int, fps: int = 20, source: str = ""):
    """Serves a moving ball, or another source of GStreamer, at rtsp://127.0.0.1:PORT/camera; killed after the block."""
    ball = f"videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=96,framerate={fps}/1"
    command = [SYSTEM_PYTHON, "-c", RTSP_SERVER, str(port), source or ball]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline().strip() == "ready"
            yield process
        finally:
            process.kill()


@contextmanager
def mjpeg_server(port: int, frames: int, fps: float = 20.0, sizes=((160, 96),)):
    """Serves MJPEG at http://127.0.0.1:PORT/: each connection gets `frames` images, then it is closed.

    Yields a list that gets an entry for each connection.
    """
    connections: list[float] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            size = sizes[min(len(connections), len(sizes) - 1)]
            connections.append(time.monotonic())
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for index in range(frames):
                content = cv2.imencode(".jpg", shade(index, size))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + content + b"\r\n")
                except OSError:
                    return
                time.sleep(1 / fps)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield connections
    finally:
        server.shutdown()
        server.server_close()
