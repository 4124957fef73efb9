"""Real receivers of alarms on loopback: an HTTP server that can refuse, and an MQTT broker."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Listener(ThreadingHTTPServer):
    """Takes alarms; answers with the next of `answers` (status, headers), then with 200."""

    def __init__(self, port=0, answers=()):
        super().__init__(("127.0.0.1", port), _Handler)
        self.got, self.keys, self.answers = [], [], list(answers)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/alarms"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        if status == 200:
            self.server.got.append(json.loads(body))
            self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def listening(port=0, answers=()):
    """A server that runs."""
    server = Listener(port, answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port():
    """A port of loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def broker(folder, port):
    """mosquitto that anybody may use; it keeps what subscribers have not got yet in the folder."""
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {folder}/\n{'user root' if os.geteuid() == 0 else ''}\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port))
        yield process
    finally:
        process.terminate()
        process.wait()


def _answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what, seconds=10.0):
    """Wait until something is so; fails if it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
