"""The web page in a real browser, which is the judge of its markup, its style sheet and its policy."""

import html
import json
import re
import subprocess
import urllib.request

import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from tests.e2e.support import need

pytestmark = pytest.mark.clients

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def send(method, url, data, **headers):
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 201


def upload(url, repository, data):
    digest = Digest.of(data)
    send("POST", f"{url}/v2/{repository}/blobs/uploads/?digest={digest}", data)
    return {"digest": str(digest), "size": len(data)}


def push(url, repository, tag):
    """An image whose texts try to become script."""
    evil = '<script>console.error("broken out")</script><img src=x onerror=console.error(1)>'
    config = {
        "os": "linux",
        "architecture": "amd64",
        "history": [{"created_by": evil}] * 2,
        "config": {"User": evil},
    }
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": upload(url, repository, json.dumps(config).encode()) | {"mediaType": CONFIG},
        "layers": [upload(url, repository, bytes(n)) | {"mediaType": LAYER} for n in (5000, 700)],
        "annotations": {evil: evil},
    }
    send(
        "PUT",
        f"{url}/v2/{repository}/manifests/{tag}",
        json.dumps(value).encode(),
        **{"Content-Type": MANIFEST},
    )


@pytest.fixture
def browse(tmp_path):
    """Opens an address: the document as the browser has it in the end, and what it complains about."""
    chromium = need("chromium")

    def browse(url):
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--no-first-run",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            check=True,
            timeout=120,
        )
        return done.stdout.decode(), [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]

    return browse


@pytest.fixture
def url():
    config = RegistryConfig(port=0, drain_seconds=0.2, page_title="Our images")
    with Registry(config) as url:
        push(url, "team/app", "1.0")
        yield url


def test_the_complaints_of_the_browser_are_seen(browse, tmp_path):
    """Otherwise their absence would mean nothing."""
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>x</title><script>console.error('here')</script>")
    assert any("here" in line for line in browse(f"file://{page}")[1])


@pytest.mark.parametrize(
    ("path", "title", "links"),
    [
        ("/", "Our images", {"/r/team/app"}),
        ("/r/team/app", "team/app · Our images", {"/", "/r/team/app:1.0"}),
        ("/r/team/app:1.0", "team/app:1.0 · Our images", {"/", "/r/team/app"}),
        ("/r/none", "Not found · Our images", {"/"}),
    ],
)
def test_pages_in_a_browser(browse, url, path, title, links):
    """The title and the links are there, and nothing was blocked, missing or run."""
    document, complaints = browse(url + path)
    assert f"<title>{title}</title>" in document
    assert links <= set(re.findall(r'href="([^"]*)"', document))
    expected = 1 if path == "/r/none" else 0  # the browser reports the status 404 itself
    assert len(complaints) <= expected, complaints
    assert "broken out" not in "".join(complaints)
    assert "<script" not in document


def test_nothing_is_too_wide_or_too_narrow(browse, url, tmp_path):
    """On a small screen no page scrolls sideways, and no name is squeezed into a column of letters."""
    push(url, "team/app", "a-tag-" + "with-a-long-name-" * 5)
    with urllib.request.urlopen(f"{url}/style.css", timeout=20) as answer:
        style = answer.read().decode()
    measure = (
        "<script>onload = () => { const page = frames[0].document, root = page.documentElement;"
        "const width = (x) => Math.round(x.getBoundingClientRect().width);"
        "document.title = JSON.stringify([root.clientWidth, root.scrollWidth,"
        "Math.min(...[...page.querySelectorAll('tbody th')].map(width))]) }</script>"
    )
    for number, path in enumerate(("/r/team/app", "/r/team/app:1.0")):
        with urllib.request.urlopen(url + path, timeout=20) as answer:
            document = answer.read().decode().replace("</head>", f"<style>{style}</style></head>")
        page = tmp_path / f"{number}.html"  # a window is never this narrow, a frame may be
        frame = f'<iframe style="width: 375px; border: 0" srcdoc="{html.escape(document)}"></iframe>'
        page.write_text(f"<!doctype html><title>x</title>{frame}{measure}")
        shown, _ = browse(f"file://{page}")
        inside, needed, name = json.loads(re.search(r"<title>(.*?)</title>", shown)[1])
        assert needed == inside <= 375
        assert name >= 120
