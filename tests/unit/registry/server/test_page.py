"""The web page: what it shows, to whom, and that nothing of what clients sent becomes markup."""

import html.parser
import json
import re
import threading
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.app import create_app
from registry.server.config import BasicAuth, RegistryConfig, TokenAuth
from registry.server.markup import Markup, element, escape
from registry.server.page_kinds import instruction, kind_of
from registry.server.page_lists import collect
from registry.server.page_manifest import widths
from registry.server.page_parts import moment, size_text
from registry.server.rights import Rule
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
NASTY = '<script>alert("x")</script>\'"&<img src=x onerror=y>\u202e\x00'


class Reader(html.parser.HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def count(self, name):
        return sum(tag == name for tag, _ in self.tags)


async def upload(client, repository, data):
    digest = Digest.of(data)
    answer = await client.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", data=data)
    assert answer.status == 201
    return {"digest": str(digest), "size": len(data)}


async def push(client, repository, reference, value):
    raw = json.dumps(value).encode()
    reference = reference or str(Digest.of(raw))
    headers = {"Content-Type": value["mediaType"]}
    answer = await client.put(f"/v2/{repository}/manifests/{reference}", data=raw, headers=headers)
    assert answer.status == 201, await answer.text()
    return {"mediaType": value["mediaType"], "digest": str(Digest.of(raw)), "size": len(raw)}


async def push_image(client, repository, tag, sizes=(3000, 1000), text="RUN make", **more):
    layers = []
    for number, size in enumerate(sizes):
        layer = await upload(client, repository, bytes([number]) * size)
        layers.append(layer | {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"})
    config = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["serve", text], "User": "app"},
        "history": [{"created_by": text}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "COPY"}],
    }
    described = await upload(client, repository, json.dumps(config).encode())
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, **more}
    return await push(client, repository, tag, value | {"config": described | {"mediaType": CONFIG}})


async def get(client, path, status=200, **kwargs):
    answer = await client.get(path, **kwargs)
    assert answer.status == status
    assert answer.content_type == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    reader = Reader(await answer.text())
    assert not reader.open
    assert reader.count("script") == 0
    assert not [
        attrs for _, attrs in reader.tags if any(name.startswith("on") or name == "style" for name in attrs)
    ]
    for landmark in ("h1", "main", "header", "footer", "head"):
        assert reader.count(landmark) == 1
    assert ("html", {"lang": "en"}) in reader.tags
    return reader


@pytest.fixture
async def client(aiohttp_client):
    return await aiohttp_client(create_app(RegistryConfig(), MemoryStore()))


async def test_an_empty_registry(client):
    """It says so, and how to begin."""
    reader = await get(client, "/")
    assert "Nothing is here yet." in reader.text
    assert any("docker push 127.0.0.1:" in text for text in reader.text)


async def test_from_the_list_to_a_layer(client):
    """Repositories lead to tags, tags to manifests, which show their parts and how to get them."""
    image = await push_image(client, "team/app", "1.0")
    assert "/r/team/app" in (await get(client, "/")).links
    tags = await get(client, "/r/team/app")
    assert "/r/team/app:1.0" in tags.links
    assert {"1.0", "image"} <= set(tags.text)
    assert any(re.fullmatch(r"4\.\d kB", text) for text in tags.text)
    assert any(re.fullmatch(r"\d\.\d kB in 1 tag, 1 manifest, 3 blobs", text) for text in tags.text)
    page = await get(client, "/r/team/app:1.0")
    words = " ".join(page.text)
    host = str(client.make_url("/")).partition("//")[2].rstrip("/")
    for tool in ("docker", "podman", "pybuild"):
        assert f"{tool} pull {host}/team/app:1.0" in words
    for text in (
        "linux/arm64/v8",
        "2 January 2026, 03:04 UTC",
        "serve RUN make",
        "4.0 kB in 2 layers",
        "RUN make",
        "75 %",
    ):
        assert text in words
    widths = [
        float(attrs["width"]) for tag, attrs in page.tags if tag == "rect" and attrs.get("height") == "28"
    ]
    assert widths == [750.0, 250.0]
    by_digest = await get(client, f"/r/team/app@{image['digest']}")
    assert f"docker pull {host}/team/app@{image['digest']}" in " ".join(by_digest.text)


async def test_commands_that_get_artifacts(client):
    """Charts are for helm, other artifacts for oras; docker could do nothing with them."""
    place = str(client.make_url("/")).partition("//")[2].rstrip("/")
    config = json.dumps({"name": "shop", "description": "All of it", "appVersion": "7"}).encode()
    chart = await upload(client, "charts/shop", config)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": chart | {"mediaType": "application/vnd.cncf.helm.config.v1+json"},
        "layers": [await upload(client, "charts/shop", b"tar") | {"mediaType": "application/x-chart"}],
    }
    await push(client, "charts/shop", "1.3", value)
    page = (await get(client, "/r/charts/shop:1.3")).text
    assert f"helm pull oci://{place}/charts/shop --version 1.3" in page
    assert {"Helm chart", "All of it", "application/x-chart"} <= set(page)
    assert not any("docker pull" in text for text in page)
    titled = value["layers"][0] | {"annotations": {"org.opencontainers.image.title": "rules.wasm"}}
    config = value["config"] | {"mediaType": "application/vnd.oci.empty.v1+json"}
    more = {"artifactType": "application/x-rules", "layers": [titled], "config": config}
    await push(client, "charts/shop", "rules", value | more)
    page = (await get(client, "/r/charts/shop:rules")).text
    assert f"oras pull {place}/charts/shop:rules" in page
    assert {"rules.wasm", "application/x-rules", "Artifact"} <= set(page)
    assert {"Helm chart", "artifact"} <= set((await get(client, "/r/charts/shop")).text)


async def test_sizes_of_the_images_of_an_index(client):
    """The list of tags says how large the smallest and the largest are."""
    small = await push_image(client, "app", "small", sizes=(2000, 1000))
    large = await push_image(client, "app", "large", sizes=(70_000, 1000))
    await push(client, "app", "both", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [small, large]})
    await push(client, "app", "one", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [small]})
    text = (await get(client, "/r/app")).text
    assert text.count("3.3 kB") == 2
    assert text.count("3.3 kB to 71 kB") == 1


async def test_looking_for_names(client):
    """A word narrows repositories and tags, in any case of letters, and stays in the following pages."""
    for number in range(60):
        await push_image(client, "team/Web".lower() if number else "other", f"V{number:02}", sizes=(1, 2))
    assert set((await get(client, "/?find=WEB")).links) & {"/r/team/web", "/r/other"} == {"/r/team/web"}
    page = await get(client, "/r/team/web?find=v0")
    assert len([link for link in page.links if "/r/team/web:" in link]) == 9
    page = await get(client, "/r/team/web?find=v")
    assert "/r/team/web?after=V50&find=v" in page.links
    assert ("input", "v") in [(tag, attrs.get("value")) for tag, attrs in page.tags]
    assert "No tag has such a name." in (await get(client, "/r/team/web?find=<b>&after=V10")).text
    assert "No repository has such a name." in (await get(client, "/?find=x%00y")).text
    assert len((await get(client, "/?find=" + "x" * 5000)).text) < 60


def test_a_long_list_is_read_in_parts():
    """However few names fit, a page costs a bounded number of questions."""
    asked = []

    def read(after, limit):
        asked.append(after)
        begin = int(after or 0) + 1
        return [f"{number:09}" for number in range(begin, begin + limit)]

    listing = collect(read, "no such", "", lambda _name: True)
    assert listing.names == ()
    assert listing.following == f"{1000 * len(asked):09}"
    assert len(asked) == 100
    listing = collect(read, "", "", lambda name: name.endswith("0"))
    assert len(listing.names) == 50
    assert listing.following == listing.names[-1]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((3, 1), [750, 250]),
        ((0, 0), [500, 500]),
        ((10**12, 0, 1), [992, 4, 4]),
        ((1,) * 500, [2] * 500),
    ],
)
def test_each_layer_can_be_seen(sizes, expected):
    """Widths are in proportion but never nothing, and fill the picture."""
    found = widths(sizes)
    assert sum(found) == pytest.approx(1000)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("history", "shown"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c make all", "RUN make all"),
        ("RUN /bin/sh -c make all # buildkit", "RUN make all"),
        ("COPY . /app # buildkit", "COPY . /app"),
        ("", ""),
    ],
)
def test_instructions_of_histories(history, shown):
    """Without what builders put around them."""
    assert instruction(history) == shown


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01T00:00:00+23:00", "2026-01-02T03:04:05", "9" * 99])
def test_times_that_are_none(text):
    """They stay as they are."""
    assert moment(text) == text


async def test_indexes_and_referrers(client):
    """Platforms lead to their manifests; signatures and SBOMs are listed, also those kept under tags."""
    image = await push_image(client, "app", "1")
    platform = {"os": "linux", "architecture": "arm64"}
    sbom = await push_image(client, "app", None, artifactType="application/spdx+json", subject=image)
    attested = image | {
        "digest": sbom["digest"],
        "size": sbom["size"],
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image | {"platform": platform}, attested]}
    await push(client, "app", "multi", index)
    attached = image["digest"].replace(":", "-")
    await push_image(client, "app", f"{attached}.sig")
    await push(client, "app", attached, {"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    page = await get(client, "/r/app:multi")
    assert f"/r/app@{image['digest']}" in page.links
    assert {"linux/arm64", "attestation"} <= set(page.text)
    assert "unknown/unknown" not in page.text
    assert any(re.fullmatch(r"4\.\d kB", text) for text in page.text)  # of the image, not of its manifest
    page = await get(client, "/r/app:1")
    assert {"SBOM (SPDX)", "Signature"} <= set(page.text)
    assert page.text.count("4.3 kB") == 2  # of what they hold, not of their manifests
    tags = (await get(client, "/r/app")).text
    assert {"linux/arm64", "image", "signature", "referrers"} <= set(tags)
    page = await get(client, f"/r/app@{sbom['digest']}")
    assert "Refers to" in page.text
    assert f"/r/app@{image['digest']}" in page.links


async def test_hostile_content_stays_text(client):
    """In annotations, commands, artifact types and platforms."""
    image = await push_image(client, "app", "1", text=NASTY, annotations={NASTY: NASTY})
    await push_image(client, "app", None, artifactType=NASTY[:60], subject=image)
    platform = {"os": NASTY, "architecture": NASTY}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image | {"platform": platform}]}
    await push(client, "app", "2", index)
    for path in ("/", "/r/app", "/r/app:1", "/r/app:2"):
        page = await get(client, path)
        assert page.count("img") == 0
        assert "\u202e" not in "".join(page.text)
    assert any("<script>alert" in text for text in (await get(client, "/r/app:1")).text)


@given(st.text(), st.text())
def test_nothing_gets_out_of_its_element(text, value):
    """Whatever the text, there is one element with one attribute and that text."""
    reader = Reader(element("p", text, title=value))
    assert [tag for tag, _ in reader.tags] == ["p"]
    assert list(reader.tags[0][1]) == ["title"]
    assert isinstance(escape(text), Markup)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
        b'"application/vnd.oci.image.config.v1+json","digest":"sha256:'
        + b"0" * 64
        + b'","size":2},"layers":[]}',
        b'{"mediaType":"application/x-unknown","x":"<b>"}',
        b'{"schemaVersion":2,"manifests":[],"annotations":{"a":["b"]}}',
    ],
)
async def test_odd_manifests_are_shown_as_far_as_possible(aiohttp_client, raw):
    """Missing configurations, unknown types and odd members are no failure."""
    client = await aiohttp_client(create_app(RegistryConfig(verify_references=False), MemoryStore()))
    answer = await client.put("/v2/a/manifests/1", data=raw)
    assert answer.status == 201, await answer.text()
    await get(client, "/r/a")
    await get(client, "/r/a:1")


@pytest.mark.parametrize(
    "path",
    [
        "/r/none",
        "/r/A",
        "/r/app:none",
        "/r/app@sha256:0",
        "/r/../x",
        "/r/app:..",
        "/r/a%00b",
        "/r/app@x:y",
        "/r/%3Cb%3E",
    ],
)
async def test_what_is_not_there(client, path):
    """A page that says so, with the status for it."""
    await push_image(client, "app", "1")
    answer = await client.get(path)
    assert answer.status == 404
    if answer.content_type == "text/html":
        assert "Not found" in Reader(await answer.text()).text


async def test_long_lists_have_pages(client):
    """Each leads to the next one, and together they are everything."""
    for number in range(60):
        await push_image(client, f"r{number:02}", "1", sizes=(1, 2))
        await push_image(client, "many", f"t{number:02}", sizes=(1, 2))
    for start, wanted in (("/", 61), ("/r/many", 60)):
        seen, path = [], start
        while path:
            page = await get(client, path)
            following = [link for link in page.links if "?after=" in link]
            seen += [link for link in page.links if re.fullmatch(r"/r/(r\d\d|many|many:t\d\d)", link)]
            path = following[0] if following else None
        entries = {link for link in seen if start == "/" or ":" in link}
        assert len(entries) == wanted


@pytest.fixture
def htpasswd(tmp_path):
    path = tmp_path / "htpasswd"
    encoded = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    path.write_text(f"ann:{encoded}\nbob:{encoded}\n")
    return str(path)


RULES = (
    Rule(repositories="**", allow=("admin",), users=("ann",)),
    Rule(repositories="team/**", allow=("pull",), users=("bob",)),
    Rule(repositories="public/*", allow=("pull", "catalog"), users=("*",), anonymous=True),
)


async def test_rights_hold_here_too(aiohttp_client, htpasswd):
    """Lists, tags and manifests; what may not be seen answers like what does not exist."""
    store = MemoryStore()
    free = await aiohttp_client(create_app(RegistryConfig(), store))
    for name in ("team/app", "public/app", "hidden"):
        await push_image(free, name, "1")
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), rights=RULES)
    client = await aiohttp_client(create_app(config, store))
    ann = {"Authorization": aiohttp.encode_basic_auth("ann", "pw")}
    bob = {"Authorization": aiohttp.encode_basic_auth("bob", "pw")}
    links = (await get(client, "/")).links
    assert "/r/public/app" in links
    assert "/login" in links
    assert not [link for link in links if "team" in link or "hidden" in link]
    assert "/r/hidden" in (await get(client, "/", headers=ann)).links
    assert "/r/team/app" not in (await get(client, "/", headers=bob)).links
    await get(client, "/r/team/app:1", headers=bob)
    answers = {}
    for name in ("hidden", "missing"):
        for suffix in ("", ":1", "@sha256:" + "0" * 64):
            page = await get(client, f"/r/{name}{suffix}", 404, headers=bob)
            answers[name, suffix] = page.text
            answer = await client.get(f"/r/{name}{suffix}")
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answers["hidden", ":1"] == answers["missing", ":1"]
    wrong = {"Authorization": aiohttp.encode_basic_auth("bob", "no")}
    await get(client, "/", 401, headers=wrong)
    assert (await client.get("/login")).status == 401
    answer = await client.get("/login", headers=bob, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_private_registry_asks_at_once(aiohttp_client, htpasswd):
    """Where anonymous callers may see nothing, the first page asks who they are."""
    config = RegistryConfig(auth=BasicAuth(htpasswd=htpasswd))
    client = await aiohttp_client(create_app(config, MemoryStore()))
    page = await get(client, "/", 401)
    assert "Please sign in" in page.text


async def test_prefixes(aiohttp_client):
    """Links stay below the path that the proxy or the settings name; images need none."""
    config = RegistryConfig(trust_proxy=True, page_base_path="/own", page_title='A "B" <c>')
    client = await aiohttp_client(create_app(config, MemoryStore()))
    await push_image(client, "app", "1")
    for headers, prefix in (({}, "/own"), ({"X-Forwarded-Prefix": "/images/x"}, "/images/x")):
        for path in ("/", "/r/app", "/r/app:1"):
            page = await get(client, path, headers=headers)
            assert all(link.startswith((f"{prefix}/", "#")) for link in page.links)
            styles = [attrs["href"] for tag, attrs in page.tags if tag == "link"]
            # A new version has a new address, as browsers keep the old one.
            version = Digest.of(await (await client.get("/style.css")).read()).hex[:12]
            assert f"{prefix}/style.css?{version}" in styles
    with pytest.raises(InvalidConfiguration, match="base path"):
        RegistryConfig(page_base_path="//evil")


async def test_the_page_can_be_turned_off(aiohttp_client):
    """Then there is nothing at its addresses."""
    client = await aiohttp_client(create_app(RegistryConfig(page=False), MemoryStore()))
    for path in ("/", "/r/a", "/login", "/style.css"):
        assert (await client.get(path)).status == 404


async def test_storage_use_is_for_administrators(aiohttp_client, tmp_path, htpasswd):
    """In words and as a meter."""
    store = FilesystemStore(str(tmp_path / "root"))
    config = RegistryConfig(root=str(tmp_path / "root"), auth=TokenAuth(htpasswd=htpasswd), rights=RULES)
    client = await aiohttp_client(create_app(config, store))
    ann = {"Authorization": aiohttp.encode_basic_auth("ann", "pw")}
    await push_image(await aiohttp_client(create_app(RegistryConfig(), store)), "public/app", "1")
    page = await get(client, "/", headers=ann)
    assert page.count("meter") == 1
    assert any("are in use on the storage" in text for text in page.text)
    held = "Repositories hold 4.8 kB in 1 tag, 1 manifest, 3 blobs, shared content counted once."
    assert held in page.text
    assert held not in (await get(client, "/?find=app", headers=ann)).text
    page = await get(client, "/")
    assert page.count("meter") == 0
    assert "/r/public/app" in page.links
    assert held not in page.text
    await client.close()
    store.close()


async def test_storage_use_of_memory(client):
    """There is no filesystem, but content."""
    await push_image(client, "app", "1")
    page = await get(client, "/")
    assert page.count("meter") == 0
    assert any(text.startswith("Repositories hold 4.8 kB in 1 tag") for text in page.text)


async def test_nobody_waits_for_the_count(aiohttp_client):
    """The page comes at once, later ones with the figure, which is not counted with every request."""
    go = threading.Event()

    class Slow(MemoryStore):
        counted = 0

        def usage(self):
            self.counted += 1
            go.wait(20)
            return super().usage()

    store = Slow()
    client = await aiohttp_client(create_app(RegistryConfig(), store))
    await push_image(client, "app", "1")
    for _ in range(2):
        assert "What repositories hold is being counted." in (await get(client, "/")).text
    go.set()
    text = []
    for _ in range(200):
        text = (await get(client, "/")).text
        if "What repositories hold is being counted." not in text:
            break
    assert any(text.startswith("Repositories hold 4.8 kB in 1 tag") for text in text)
    await get(client, "/")
    assert store.counted == 1


async def test_what_may_only_be_seen_in_lists(aiohttp_client, htpasswd):
    """Who may not pull is not told how much a repository holds."""
    rules = (
        Rule(repositories="**", allow=("admin",), users=("ann",)),
        Rule(repositories="shown", allow=("catalog",), anonymous=True),
        Rule(repositories="open", allow=("catalog", "pull"), anonymous=True),
    )
    store = MemoryStore()
    free = await aiohttp_client(create_app(RegistryConfig(), store))
    for name in ("shown", "open"):
        await push_image(free, name, "1")
    client = await aiohttp_client(
        create_app(RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), rights=rules), store)
    )
    page = await get(client, "/")
    assert {"/r/shown", "/r/open"} <= set(page.links)
    assert [text for text in page.text if text.startswith("1 tag")] == ["1 tag · 4.8 kB"]
    assert (await client.get("/r/shown")).status == 401


def test_colours_can_be_read():
    """Text, links and what is less important have a contrast of at least 4.5 in both schemes."""
    css = (Path(__file__).resolve().parents[4] / "registry/server/page.css").read_text()

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
        for back in ("back", "raised"):
            for text, least in (("text", 7), ("soft", 4.5), ("link", 4.5), *((f"l{n}", 3) for n in range(6))):
                light, dark = sorted((luminance(colours[text]), luminance(colours[back])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= least, (text, back)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (10_400, "10 kB"),
        (999_600, "1.0 MB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes(size, text):
    """Two digits are enough."""
    assert size_text(size) == text


def test_kinds_of_artifacts():
    """Words for the types that are in use."""
    assert kind_of("application/vnd.dev.cosign.artifact.sig.v1+json") == "Signature"
    assert kind_of("application/vnd.cyclonedx+json") == "SBOM (CycloneDX)"
    assert kind_of("application/vnd.in-toto+json") == "Attestation"
    assert kind_of("application/x") == "Artifact"
