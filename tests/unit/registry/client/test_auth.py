"""The challenge flow without any network."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from registry.client.auth import Authenticator, AuthFlow, TokenReply, TokenRequest, merge_scopes
from registry.client.credentials import Credentials
from registry.client.endpoints import may_carry_credentials
from registry.errors import Denied, MalformedMessage, TransportProblem, Unauthorized
from registry.protocol.challenges import Scope, repository_scope

PULL = (repository_scope("library/app", "pull"),)
PUSH = (repository_scope("library/app", "pull", "push"),)
BEARER = 'Bearer realm="https://auth.example/token",service="r.example",scope="repository:library/app:pull"'
USER = Credentials(username="me", password="pw")


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator("r.example", may_carry_credentials)


def drive(flow: AuthFlow, *replies: TokenReply) -> tuple[list[TokenRequest], str]:
    requests, answers = [], iter(replies)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            request = flow.send(next(answers))
    except StopIteration as end:
        return requests, end.value


def token(value: str = "T", **more: object) -> TokenReply:
    return TokenReply(status=200, body=json.dumps({"token": value, **more}).encode())


def test_basic_challenge_is_answered_with_the_password(authenticator):
    """User and password, encoded, without asking anybody."""
    authenticator.learn(['Basic realm="x"'])
    requests, value = drive(authenticator.flow(PULL, USER, 0))
    assert requests == []
    assert value == "Basic " + base64.b64encode(b"me:pw").decode()
    assert authenticator.authorization(PUSH, 0) == value


def test_basic_challenge_without_credentials_asks_to_log_in(authenticator):
    """An anonymous user is told what to do."""
    authenticator.learn(["Basic realm=x"])
    with pytest.raises(Unauthorized, match="user name and a password") as caught:
        drive(authenticator.flow(PULL, None, 0))
    assert caught.value.hint


def test_anonymous_token_is_fetched_without_authorization(authenticator):
    """GET with service and scope, as Docker Hub wants it."""
    authenticator.learn([BEARER])
    (request,), value = drive(authenticator.flow(PULL, None, 0), token())
    assert value == "Bearer T"
    assert (request.method, request.headers) == ("GET", {})
    assert parse_qs(urlsplit(request.url).query) == {
        "service": ["r.example"],
        "scope": ["repository:library/app:pull"],
    }


def test_password_goes_to_the_token_endpoint_only(authenticator):
    """The endpoint gets Basic, the registry gets the token."""
    authenticator.learn([BEARER])
    (request,), value = drive(authenticator.flow(PUSH, USER, 0), token())
    assert request.headers["Authorization"].startswith("Basic ")
    assert parse_qs(urlsplit(request.url).query)["scope"] == ["repository:library/app:pull,push"]
    assert "pw" not in request.url
    assert value == "Bearer T"


def test_identity_token_is_exchanged_by_post(authenticator):
    """OAuth2 refresh, with the secret in the body and not in the URL."""
    authenticator.learn([BEARER])
    reply = TokenReply(status=200, body=b'{"access_token": "A"}')
    (request,), value = drive(authenticator.flow(PULL, Credentials(identity_token="idt"), 0), reply)
    assert request.method == "POST"
    assert request.url == "https://auth.example/token"
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["idt"]
    assert form["scope"] == ["repository:library/app:pull"]
    assert value == "Bearer A"


def test_registry_token_is_sent_as_it_is(authenticator):
    """A ready token needs no endpoint."""
    authenticator.learn([BEARER])
    assert drive(authenticator.flow(PULL, Credentials(registry_token="R"), 0)) == ([], "Bearer R")


def test_mount_asks_for_both_repositories(authenticator):
    """Scopes for source and target are sent as one request each named once."""
    authenticator.learn([BEARER])
    scopes = (*PUSH, repository_scope("base", "pull"))
    (request,), _ = drive(authenticator.flow(scopes, USER, 0), token())
    assert parse_qs(urlsplit(request.url).query)["scope"] == [
        "repository:base:pull",
        "repository:library/app:pull,push",
    ]


def test_token_is_kept_for_its_scope_until_shortly_before_it_ends(authenticator):
    """A token serves what it was asked for and less, and not after its time."""
    authenticator.learn([BEARER])
    drive(authenticator.flow(PUSH, USER, 100), token(expires_in=300))
    assert authenticator.authorization(PUSH, 100) == "Bearer T"
    assert authenticator.authorization(PULL, 380) == "Bearer T"
    assert authenticator.authorization(PUSH, 391) is None
    assert authenticator.authorization((repository_scope("other", "pull"),), 100) is None
    assert authenticator.needs_flow(PUSH, 391)


def test_token_without_lifetime_lives_a_minute(authenticator):
    """The specification's default and minimum."""
    authenticator.learn([BEARER])
    drive(authenticator.flow(PULL, None, 0), token(expires_in=1))
    assert authenticator.authorization(PULL, 49) is not None
    assert authenticator.authorization(PULL, 61) is None


def test_forgotten_token_is_not_used_again(authenticator):
    """What the registry refused is fetched anew."""
    authenticator.learn([BEARER])
    drive(authenticator.flow(PULL, None, 0), token())
    authenticator.forget("Bearer T")
    assert authenticator.needs_flow(PULL, 0)


def test_bearer_is_preferred_to_basic(authenticator):
    """A registry may offer both, in one header or in two."""
    authenticator.learn(['Basic realm="x"', BEARER])
    assert authenticator.offers_tokens


def test_unknown_scheme_is_named(authenticator):
    """We say what we do not speak."""
    with pytest.raises(Unauthorized, match="negotiate"):
        authenticator.learn(["Negotiate"])


def test_credentials_are_not_sent_without_tls(authenticator):
    """A registry cannot make us send a password in the clear."""
    authenticator.learn(['Bearer realm="http://auth.example/token",service="s"'])
    with pytest.raises(TransportProblem, match="not protected by TLS"):
        drive(authenticator.flow(PULL, USER, 0))
    assert drive(authenticator.flow(PULL, None, 0), token())[1] == "Bearer T"


@pytest.mark.parametrize("realm", ["", "ftp://x/", "/token", "javascript:alert(1)"])
def test_unusable_realm_is_reported(authenticator, realm):
    """A challenge must lead somewhere."""
    authenticator.learn([f'Bearer realm="{realm}"'])
    with pytest.raises(MalformedMessage):
        drive(authenticator.flow(PULL, None, 0))


@pytest.mark.parametrize(
    ("status", "credentials", "error", "says"),
    [
        (401, USER, Unauthorized, "does not accept the credentials of user me"),
        (401, None, Unauthorized, "anonymous"),
        (403, USER, Denied, "refuses"),
        (404, None, TransportProblem, "HTTP 404"),
    ],
)
def test_refusals_of_the_endpoint(authenticator, status, credentials, error, says):
    """Each refusal is an error that says who refused what."""
    authenticator.learn([BEARER])
    with pytest.raises(error, match=says):
        drive(authenticator.flow(PULL, credentials, 0), TokenReply(status=status, body=b""))


def test_busy_endpoint_is_temporary(authenticator):
    """A 503 of the endpoint is worth another attempt."""
    authenticator.learn([BEARER])
    with pytest.raises(TransportProblem) as caught:
        drive(authenticator.flow(PULL, None, 0), TokenReply(status=503, body=b""))
    assert caught.value.temporary


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX: y"}', b'{"token": ""}', b"[" * 100000]
)
def test_unusable_token_is_reported(authenticator, body):
    """Neither garbage nor a header injection becomes an Authorization."""
    authenticator.learn([BEARER])
    with pytest.raises(MalformedMessage, match="holds no token"):
        drive(authenticator.flow(PULL, None, 0), TokenReply(status=200, body=body))


def test_requests_show_no_secret():
    """A token request can be logged by accident without harm."""
    request = TokenRequest(method="POST", url="https://a/?x=S1", headers={"A": "S2"}, body=b"S3")
    assert "S" not in repr(request).replace("TokenRequest", "").replace("POST", "")


def test_scopes_are_merged_in_a_fixed_order():
    """The same wishes make the same request."""
    merged = merge_scopes(
        (repository_scope("b", "push"), repository_scope("a", "pull"), repository_scope("b", "pull"))
    )
    assert merged == (Scope("repository", "a", ("pull",)), Scope("repository", "b", ("pull", "push")))
