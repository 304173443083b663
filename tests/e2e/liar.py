"""A registry whose every answer a test chooses, in a thread of the test."""

import contextlib
import hashlib
import http.server
import json
import threading

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextlib.contextmanager
def serving(answer):
    """
    Serve on loopback; gives host:port.

    `answer(path)` returns status, headers and body; the body is sent as it is, whatever the headers promise.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answer(self.path)
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(OSError):
                    self.wfile.write(body)
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def digest(raw):
    """The digest of bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def image(layer=b"\0" * 10240, *, size=None):
    """The parts of an image of one layer by path below /v2/: manifest, configuration, layer."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "config": {},
        }
    ).encode()
    kinds = {"config": (config, "config.v1+json"), "layer": (layer, "layer.v1.tar")}
    entries = {
        name: {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest(raw),
            "size": len(raw) if size is None or name == "config" else size,
        }
        for name, (raw, kind) in kinds.items()
    }
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": entries["config"],
            "layers": [entries["layer"]],
        }
    ).encode()
    return {
        "manifest": manifest,
        f"/v2/x/blobs/{digest(config)}": config,
        f"/v2/x/blobs/{digest(layer)}": layer,
    }


def honest(parts):
    """Answers as a registry gives them, for the image `x`."""

    def answer(path):
        if path == "/v2/":
            return 200, {}, b"{}"
        if path.startswith("/v2/x/manifests/"):
            return 200, {"Content-Type": MANIFEST}, parts["manifest"]
        if path in parts:
            return 200, {"Content-Type": "application/octet-stream"}, parts[path]
        return 404, {"Content-Type": "application/json"}, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'

    return answer
