"""The door to the network: retries, redirects, authentication, limits."""

import json
import subprocess
import sys

import pytest

from registry.client.client import RegistryClient
from registry.client.credentials import Credentials
from registry.client.messages import Request
from registry.client.scripted import Reply, ScriptedRegistry, Seen
from registry.client.transport import Transport
from registry.errors import (
    ApiError,
    Denied,
    InvalidCredentials,
    MalformedMessage,
    TransportProblem,
    Unauthorized,
)
from registry.protocol.challenges import repository_scope
from registry.protocol.errors import ErrorCode

SCOPES = (repository_scope("app", "pull"),)
USER = Credentials(username="me", password="pw")


def get(target: str, **more: object) -> Request:
    return Request(method="GET", target=target, what="thing", scopes=SCOPES, **more)  # type: ignore[arg-type]


def error_body(code: str, message: str = "", detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


async def test_registry_is_probed_once(scripted, transport):
    """The version is asked for once, whatever follows."""
    scripted.on("GET", "/x", Reply(body=b"1"))
    for _ in range(3):
        assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"1"
    assert len(scripted.asked("GET", "/v2/")) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_temporary_answers_are_tried_again(scripted, transport, status):
    """A busy registry is asked again and then answers."""
    scripted.on("GET", "/x", Reply(status=status), Reply(status=status), Reply(body=b"ok"))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"ok"
    assert len(scripted.asked("GET", "/x")) == 3


async def test_attempts_are_bounded(scripted, transport):
    """A registry that stays busy is an error with its own words."""
    scripted.on("GET", "/x", Reply(status=429, body=error_body("TOOMANYREQUESTS", "slow down")))
    with pytest.raises(ApiError, match="slow down") as caught:
        await transport.fetch(scripted.name, get("/x"), limit=10)
    assert caught.value.code is ErrorCode.TOOMANYREQUESTS
    assert caught.value.hint
    assert len(scripted.asked("GET", "/x")) == 4


async def test_long_retry_after_is_not_waited_for(scripted, transport):
    """An hour of waiting is the user's decision."""
    scripted.on("GET", "/x", Reply(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(ApiError):
        await transport.fetch(scripted.name, get("/x"), limit=10)
    assert len(scripted.asked("GET", "/x")) == 1


async def test_final_answers_are_not_repeated(scripted, transport):
    """404 is an answer, with code and detail."""
    body = error_body("MANIFEST_UNKNOWN", "no such thing", {"Tag": "x"})
    scripted.on("GET", "/x", Reply(status=404, body=body))
    with pytest.raises(ApiError, match=r"thing: no such thing: .*'Tag': 'x'.* \(HTTP 404\)") as caught:
        await transport.fetch(scripted.name, get("/x"), limit=10)
    assert caught.value.code is ErrorCode.MANIFEST_UNKNOWN
    assert caught.value.detail == {"Tag": "x"}
    assert len(scripted.asked("GET", "/x")) == 1


async def test_broken_connections_are_tried_again(scripted, transport):
    """Resets before the answer and within it do not matter when a later attempt works."""
    scripted.on("GET", "/x", Reply(take=0), Reply(body=b"hello", cut=2), Reply(body=b"hello"))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"hello"


async def test_stalled_answer_is_given_up(scripted, transport):
    """A registry that never answers costs the stall limit, not forever."""
    scripted.on("GET", "/x", Reply(stall=True), Reply(body=b"ok"))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"ok"


async def test_refused_connection_fails_at_once(transport):
    """Nobody listens: one error that names the registry."""
    async with ScriptedRegistry() as gone:
        name = gone.name
    with pytest.raises(TransportProblem, match=f"{name}.*cannot connect") as caught:
        await transport.fetch(name, get("/x"), limit=10)
    assert not caught.value.temporary


@pytest.mark.parametrize(
    "reply",
    [Reply(body=b"x" * 101), Reply(endless=True), Reply(headers={"Content-Length": "999999999"}, cut=0)],
)
async def test_answers_are_bounded(scripted, transport, reply):
    """An answer without end is an error and not a full memory."""
    scripted.on("GET", "/x", reply)
    with pytest.raises(TransportProblem):
        await transport.fetch(scripted.name, get("/x"), limit=100)


async def test_error_bodies_are_bounded_and_printable(scripted, transport):
    """A gateway's endless or hostile page does not reach the terminal."""
    scripted.on("GET", "/x", Reply(status=404, endless=True))
    with pytest.raises(ApiError, match="HTTP 404"):
        await transport.fetch(scripted.name, get("/x"), limit=10)
    scripted.on("GET", "/y", Reply(status=400, body=error_body("DENIED", "\x1b[31mred\r\n" + "x" * 60000)))
    with pytest.raises(ApiError) as caught:
        await transport.fetch(scripted.name, get("/y"), limit=10)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


async def test_redirect_to_another_host_drops_authorization(scripted, quick_options):
    """Storage behind a registry must not see the registry's password."""
    async with ScriptedRegistry() as storage, Transport(quick_options, lambda _: USER) as transport:
        scripted.on("GET", "/v2/", Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
        scripted.on("GET", "/x", Reply(status=307, headers={"Location": "/y"}))
        scripted.on("GET", "/y", Reply(status=302, headers={"Location": f"{storage.url}/z?sig=%2F"}))
        storage.on("GET", "/z?sig=%2F", Reply(body=b"data"))
        answer = await transport.fetch(scripted.name, get("/x"), limit=10)
        assert answer.body == b"data"
        assert "authorization" in scripted.asked("GET", "/x")[0].headers
        assert "authorization" in scripted.asked("GET", "/y")[0].headers
        assert "authorization" not in storage.requests[0].headers


async def test_unauthorized_storage_does_not_get_credentials(scripted, quick_options):
    """A challenge of another host is not answered with the registry's credentials."""
    async with ScriptedRegistry() as storage, Transport(quick_options, lambda _: USER) as transport:
        scripted.on("GET", "/x", Reply(status=307, headers={"Location": f"{storage.url}/z"}))
        storage.on("GET", "/z", Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
        with pytest.raises(ApiError, match="from http"):
            await transport.fetch(scripted.name, get("/x"), limit=10)
        assert len(storage.requests) == 1


async def test_redirect_loops_end(scripted, transport):
    """A registry that sends us in circles is an error."""
    scripted.on("GET", "/x", Reply(status=307, headers={"Location": "/x"}))
    with pytest.raises(TransportProblem, match="too many redirects"):
        await transport.fetch(scripted.name, get("/x"), limit=10)


def serve_tokens(scripted: ScriptedRegistry, good: str = "good") -> None:
    """Let /x want a bearer token that the scripted token endpoint gives."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{scripted.url}/token",service="s"'}

    def guarded(seen: Seen) -> Reply:
        if seen.headers.get("authorization") == f"Bearer {good}":
            return Reply(body=b"in")
        return Reply(status=401, headers=challenge)

    scripted.on("GET", "/v2/", Reply(status=401, headers=challenge))
    scripted.on("GET", "/x", guarded)


TOKEN_URL = "/token?service=s&scope=repository%3Aapp%3Apull"


async def test_token_flow_of_docker_hub(scripted, transport):
    """Probe, anonymous token, content; the token is fetched once."""
    serve_tokens(scripted)
    scripted.on("GET", TOKEN_URL, Reply(body=b'{"token": "good"}'))
    for _ in range(2):
        assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"in"
    assert [seen.target for seen in scripted.requests] == ["/v2/", TOKEN_URL, "/x", "/x"]


async def test_refused_token_is_renewed_once(scripted, transport):
    """A token that the registry does not take any more is replaced; a second refusal is final."""
    serve_tokens(scripted)
    scripted.on("GET", TOKEN_URL, Reply(body=b'{"token": "old"}'), Reply(body=b'{"token": "good"}'))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"in"
    scripted.on("GET", TOKEN_URL, Reply(body=b'{"token": "bad"}'))
    serve_tokens(scripted, "never")
    with pytest.raises(Unauthorized, match="thing: authentication required"):
        await transport.fetch(scripted.name, get("/x"), limit=10)
    assert len(scripted.asked("GET", "/x")) == 4


async def test_known_user_without_rights_is_denied(scripted, quick_options):
    """Who logged in and may not do something is told so, not asked to log in."""
    async with Transport(quick_options, lambda _: USER) as transport:
        serve_tokens(scripted, "never")
        url = TOKEN_URL + "&account=me&client_id=pybuild"
        scripted.on("GET", url, Reply(body=b'{"token": "t"}'))
        with pytest.raises(Denied):
            await transport.fetch(scripted.name, get("/x"), limit=10)
        assert scripted.asked("GET", url)[0].headers["authorization"].startswith("Basic ")
        assert all(
            "Basic" not in seen.headers.get("authorization", "") for seen in scripted.asked("GET", "/x")
        )


async def test_wrong_password_is_sent_once(scripted, quick_options):
    """A refused password is not tried again."""
    async with Transport(quick_options, lambda _: USER) as transport:
        scripted.on("GET", "/v2/", Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
        with pytest.raises(ApiError):
            await RegistryClient(transport, scripted.name).ping()
        assert len([seen for seen in scripted.requests if "authorization" in seen.headers]) == 1


async def test_open_registry_with_basic_stays_readable(scripted, transport):
    """Some registries challenge at the door and still let anonymous users read."""
    scripted.on("GET", "/v2/", Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
    scripted.on("GET", "/x", Reply(body=b"free"))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"free"


async def test_credentials_are_looked_up_only_when_asked_for(scripted, quick_options):
    """A broken credential helper does not stop anonymous pulls from open registries."""

    def broken(_registry: str) -> Credentials | None:
        raise InvalidCredentials("broken helper")

    async with Transport(quick_options, broken) as transport:
        scripted.on(
            "GET", "/x", Reply(body=b"free"), Reply(status=401, headers={"WWW-Authenticate": "Basic"})
        )
        assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"free"
        with pytest.raises(InvalidCredentials):
            await transport.fetch(scripted.name, get("/x"), limit=10)


async def test_token_endpoint_failures_are_tried_again(scripted, transport):
    """A busy token endpoint is as temporary as a busy registry."""
    serve_tokens(scripted)
    scripted.on("GET", TOKEN_URL, Reply(status=503), Reply(take=0), Reply(body=b'{"token": "good"}'))
    assert (await transport.fetch(scripted.name, get("/x"), limit=10)).body == b"in"


async def test_oversized_token_is_refused(scripted, transport):
    """A token endpoint cannot fill the memory."""
    serve_tokens(scripted)
    scripted.on("GET", TOKEN_URL, Reply(endless=True))
    with pytest.raises((TransportProblem, MalformedMessage)):
        await transport.fetch(scripted.name, get("/x"), limit=10)


async def test_requests_say_who_we_are_and_want_no_encoding(scripted, transport):
    """Blobs are compared byte for byte: nobody may compress them on the way."""
    scripted.on("GET", "/x", Reply())
    await transport.fetch(scripted.name, get("/x"), limit=10)
    assert scripted.requests[-1].headers["accept-encoding"] == "identity"
    assert scripted.requests[-1].headers["user-agent"] == "pybuild"


async def test_unexpected_request_fails_the_script(transport):
    """A scripted registry notices what it was not told about."""
    registry = ScriptedRegistry()
    await registry.__aenter__()
    with pytest.raises(ApiError):
        await transport.fetch(registry.name, get("/other", repeatable=False), limit=10)
    with pytest.raises(AssertionError, match="GET /other"):
        await registry.__aexit__(None)


def test_aiohttp_is_not_imported_before_it_is_needed():
    """The command line can name the client's classes without paying for the network library."""
    program = (
        "import sys, registry.client.transfer, registry.client.credentials;"
        "sys.exit(any(name in sys.modules for name in ('aiohttp', 'yarl', 'zstandard', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
