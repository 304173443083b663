"""The values of RUN --mount and RUN --device."""

import pytest

from dockerfile_grammar.errors import InvalidFlag
from dockerfile_grammar.mounts import DeviceFlag, MountFlag, parse_device, parse_mount


def mount(text, **fields):
    return MountFlag(text=text, **fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", {"target": "/x"}),
        ("TYPE=Bind,DST=/x,rw", {"target": "/x", "readonly": False}),
        ("destination=/x,readwrite=false", {"target": "/x"}),
        (
            "dst=/x,ro=0,from=stage,src=/s",
            {"target": "/x", "readonly": False, "from_": "stage", "source": "/s"},
        ),
        ("type=cache,target=/c", {"type": "cache", "target": "/c", "readonly": False}),
        ("type=cache,target=/c,readonly", {"type": "cache", "target": "/c"}),
        (
            "type=cache,target=/c,sharing=Locked",
            {"type": "cache", "target": "/c", "readonly": False, "sharing": "locked"},
        ),
        (
            "mode=1777,uid=0,gid=5,target=/c,type=cache",
            {"type": "cache", "target": "/c", "readonly": False, "mode": 0o1777, "uid": 0, "gid": 5},
        ),
        (
            "type=tmpfs,target=/t,size=1.5k",
            {"type": "tmpfs", "target": "/t", "readonly": False, "size": 1536},
        ),
        ("type=secret,id=s,required", {"type": "secret", "id": "s", "required": True}),
        ("required=f,type=secret,target=/s", {"type": "secret", "target": "/s"}),
        ("type=secret,id=s,env=", {"type": "secret", "id": "s", "env": ""}),
        ("type=ssh,required=true,mode=0600", {"type": "ssh", "required": True, "mode": 0o600}),
        ('type=bind,"target=/a,b",source="x', None),
        ('type=bind,"target=/a,""b"""', {"target": '/a,"b"'}),
        ("target=/x,from=cash$", {"target": "/x", "from_": "cash$"}),
        ("", None),
    ],
)
def test_parse_mount(text, expected):
    """Keys should be read in any order, in any case, with their aliases and defaults."""
    if expected is None:
        with pytest.raises(InvalidFlag):
            parse_mount(text)
    else:
        assert parse_mount(text) == mount(text, **expected)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("type=bindd", 'unsupported mount type "bindd"', "did you mean bind?"),
        ("type=nfs", 'unsupported mount type "nfs"', None),
        ("targte=/x", "unexpected key 'targte' in 'targte=/x'", "did you mean target?"),
        ("target", "invalid field 'target' must be a key=value pair", None),
        ("nonsense", "invalid field 'nonsense' must be a key=value pair", None),
        ("from=$stage", "'from' doesn't support variable expansion, define alias stage instead", None),
        ("target=/x,required", "unexpected key 'required' for mount type 'bind'", None),
        ("type=cache,target=/x,size=1", "unexpected key 'size' for mount type 'cache'", None),
        ("type=tmpfs,target=/x,size=x", "invalid value for size: x", None),
        ("ro=yes", "invalid value for ro: yes", None),
        ("type=ssh,required=yes", "invalid value for required: yes", None),
        ("type=cache,sharing=open", 'unsupported sharing value "open"', None),
        ("type=cache,mode=888", "invalid value 888 for mode", None),
        ("type=cache,uid=-1", "invalid value -1 for uid", None),
        ("type=cache,gid=4294967296", "invalid value 4294967296 for gid", None),
        ("target=/x,mode=0644", 'mode not allowed for "bind" type mounts', None),
        ("type=tmpfs,target=/x,uid=1", 'uid not allowed for "tmpfs" type mounts', None),
        ("target=/x,gid=1", 'gid not allowed for "bind" type mounts', None),
        ("type=secret,id=x,from=y", "secret mount should not have a from", None),
        ("type=secret,id=x,sharing=shared", "secret mount should not define sharing", None),
        ("type=secret", "invalid secret mount. one of source, target required", None),
        ("type=secret,id=x,source=y", "both source and id can't be set", None),
        ("type=ssh,source=x", "ssh does not support source", None),
        ("target=/x,sharing=shared", "invalid cache sharing set for bind mount", None),
        ('target=/x,"id=y"z', 'failed to parse csv mounts: extraneous or missing " in quoted field', None),
        ('target="/x"', 'failed to parse csv mounts: bare " in unquoted field', None),
    ],
)
def test_impossible_mounts(text, message, hint):
    """Unknown keys, impossible values and keys that exclude each other should be refused."""
    with pytest.raises(InvalidFlag) as caught:
        parse_mount(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_variables_wait_for_the_build():
    """A value with a variable should be kept as written, and checked when it is known."""
    text = "type=$T,target=/c/$N,required=$R,size=$S,sharing=$M,uid=$U,rw=$W"
    waiting = parse_mount(text)
    assert waiting.unresolved
    assert (waiting.type, waiting.target, waiting.sharing) == ("$T", "/c/$N", "$M")
    assert (waiting.size, waiting.uid, waiting.required) == (None, None, False)
    values = {
        "$T": "tmpfs",
        "/c/$N": "/c/n",
        "$R": "false",
        "$S": "1m",
        "$M": "shared",
        "$U": "1",
        "$W": "true",
    }
    with pytest.raises(InvalidFlag, match="unexpected key 'required' for mount type 'tmpfs'"):
        parse_mount(text, expand=values.__getitem__)
    again = parse_mount(
        "type=cache,target=/c/$N,uid=$U,from=$F", expand=(values | {"$F": "s", "cache": "cache"}).__getitem__
    )
    assert again == mount(
        "type=cache,target=/c/$N,uid=$U,from=$F",
        type="cache",
        target="/c/n",
        uid=1,
        from_="s",
        readonly=False,
    )


def test_a_variable_elsewhere_does_not_hide_a_mistake():
    """What is known to be wrong should be refused although another value waits."""
    with pytest.raises(InvalidFlag, match="unsupported sharing value"):
        parse_mount("type=cache,target=$T,sharing=open")
    with pytest.raises(InvalidFlag, match="invalid value 9 for mode"):
        parse_mount("type=cache,target=$T,mode=9")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvidia.com/gpu=all", DeviceFlag("nvidia.com/gpu=all")),
        ("vendor.example/class", DeviceFlag("vendor.example/class")),
        ("name=vendor.example/class,required", DeviceFlag("vendor.example/class", required=True)),
        ("REQUIRED=0,a/b", DeviceFlag("a/b")),
    ],
)
def test_parse_device(text, expected):
    """A device should have a name in any position, and may be required."""
    assert parse_device(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b,name=c/d", "device name already set to a/b"),
        ("a/b,c/d", "invalid field 'c/d' must be a key=value pair"),
        ("a/b,requird=1", "unexpected key 'requird' in 'requird=1'"),
        ("a/b,required=maybe", "invalid value for required: maybe"),
        ('"a', 'failed to parse csv devices: extraneous or missing " in quoted field'),
    ],
)
def test_impossible_devices(text, message):
    """A second name and unknown keys should be refused."""
    with pytest.raises(InvalidFlag) as caught:
        parse_device(text)
    assert caught.value.message == message
