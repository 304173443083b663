"""The ignore file and its matcher."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.errors import DockerfileError, InvalidPattern
from dockerfile_grammar.ignorefile import IgnoreMatcher, read_patterns
from dockerfile_grammar.wildcards import has_wildcard, match_wildcard


def test_read_patterns_cleans_lines():
    """Comments only count at the start of a line; paths lose what means nothing."""
    text = "\ufeff# no\n /a/../b/ \r\n #kept\n\n! /c//d\n!\n/\nlast"
    assert read_patterns(text) == ("b", "#kept", "!c/d", "!", "/", "last")
    assert read_patterns(text.encode()) == read_patterns(text)
    assert read_patterns(b"caf\xe9") == ("caf\udce9",)


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["*.pyc"], "a.pyc", True),
        (["*.pyc"], "d/a.pyc", False),
        (["**/*.pyc"], "a.pyc", True),
        (["**/*.pyc"], "d/e/a.pyc", True),
        (["d"], "d/e/f", True),
        (["d/"], "d/e", True),
        (["d/**"], "d", False),
        (["d/**"], "d/x/y", True),
        (["d/**/f"], "d/f", True),
        (["d/**/f"], "d/x/y/f/z", True),
        (["d/**/**/f"], "d/f", True),
        (["**name"], "some/othername", True),
        (["**/name"], "some/othername", False),
        (["**n?me"], "othername", False),
        (["a**"], "abc/d", True),
        (["a**b*"], "a/x/bc", True),
        (["[a-c]x"], "bx", True),
        (["[^a-c]x"], "bx", False),
        ([r"\*"], "*", True),
        ([r"\**"], "*x", True),
        ([r"a\*\*"], "a**", True),
        ([r"a\*\*"], "a*", False),
        ([r"[\]]"], "]", True),
        (["a.b+c"], "a.b+c", True),
        (["a.b"], "axb", False),
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "keep/below", False),
        (["*", "!keep", "keep/not"], "keep/not", True),
        (["d", "!d/e"], "d/e", False),
        (["!a", "*"], "a", True),
        (["*"], ".", False),
        (["*"], "./a//b/", True),
        ([" ", ""], "a", False),
        (["a\nb"], "a\nb", True),
        (["a?b"], "a\nb", True),
    ],
)
def test_is_ignored(patterns, path, ignored):
    """The last pattern that matches the path or a folder above it should decide."""
    assert IgnoreMatcher(patterns).is_ignored(path) is ignored


def test_has_exclusions():
    """A matcher should know whether anything is ever taken back."""
    assert IgnoreMatcher(["a", " !b "]).has_exclusions
    assert not IgnoreMatcher(["a", "b!"]).has_exclusions


@pytest.mark.parametrize("pattern", ["!", "[", "[]", "[a", "a\\", "[z-a]", "[-a]", "[a-]"])
def test_malformed_patterns_are_refused(pattern):
    """A pattern that cannot be understood should be an error, not a pattern that matches nothing."""
    with pytest.raises(InvalidPattern):
        IgnoreMatcher([pattern])


@pytest.mark.parametrize(
    ("patterns", "folder", "answer"),
    [
        (["node_modules"], "node_modules", False),
        (["*", "!src"], "src", False),
        (["*", "!src/lib"], "src", True),
        (["*", "!src/lib"], "other", False),
        (["*", "!src/lib/x"], "src/other", False),
        (["*", "!src/*/x"], "src/other", True),
        (["*", "!**/x.py"], "anything/at/all", True),
        (["*", "!a**"], "zzz", True),
        (["*", "!s[r]c/x"], "zzz", True),
        (["!d/keep", "d"], "d", False),
        (["d", "!d/keep", "d"], "d", False),
        (["d", "!d/keep", "e"], "d", True),
        (["d", "!d"], "d/e", False),
    ],
)
def test_may_reinclude_below(patterns, folder, answer):
    """A walker should list an ignored folder only when a later "!" pattern may match below it."""
    assert IgnoreMatcher(patterns).may_reinclude_below(folder) is answer


NAMES = st.sampled_from(["a", "b", "ab", "a.b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "[ab]", "\\a"])
PATTERNS = st.tuples(st.booleans(), st.lists(PARTS, min_size=1, max_size=3)).map(
    lambda p: "!" * p[0] + "/".join(p[1])
)


@given(st.lists(PATTERNS, max_size=5), PATHS, PATHS)
def test_pruning_loses_nothing(patterns, folder, below):
    """When an ignored folder may be skipped, everything below it should be ignored."""
    matcher = IgnoreMatcher(patterns)
    if matcher.is_ignored(folder) and not matcher.may_reinclude_below(folder):
        assert matcher.is_ignored(f"{folder}/{below}")


@given(st.lists(st.text(alphabet="ab*?[]^-\\/!. ", max_size=12), max_size=4), PATHS)
def test_matcher_fails_only_with_its_error(patterns, path):
    """Any list of patterns should give a matcher or be refused as such."""
    try:
        matcher = IgnoreMatcher(patterns)
    except DockerfileError:
        return
    assert matcher.is_ignored(path) in (True, False)
    assert matcher.may_reinclude_below(path) in (True, False)


@given(PATHS, PATHS)
def test_without_exclusions_a_folder_covers_what_is_below(folder, below):
    """A path below a matched folder should be ignored."""
    assert IgnoreMatcher([folder]).is_ignored(f"{folder}/{below}")


def test_fifty_thousand_paths_take_little_time():
    """A large context should be filtered in well under a second on an idle machine."""
    patterns = ["**/node_modules", "**/*.pyc", ".git", "build/**", "!build/keep", "*.log", "docs/*/tmp"]
    matcher = IgnoreMatcher(patterns)
    paths = [f"src/package{i % 97}/module{i % 11}/file{i}.py" for i in range(50_000)]
    start = time.process_time()
    assert not any(map(matcher.is_ignored, paths))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", "d/a.txt", False),
        ("**/a", "x/y/a", False),
        ("**/a", "x/a", True),
        ("a***b", "axb", True),
        ("[^a]", "b", True),
        ("[b-a]", "a", False),
        ("[^b-a]", "x", True),
        ("{a,b}", "a", False),
        ("{a,b}", "{a,b}", True),
        (r"\[a]", "[a]", True),
        ("[&&-||~~[]x", "&x", True),
        ("a", "a\n", False),
        ("a[^b]c", "a/c", True),
        ("*[^a]*", "a.b/c", False),
        ("*ab*ac", "xabyabzac", True),
        ("*a*", "b", False),
        ("*a*a*a*a*a*a*a*b", "a" * 5000, False),
    ],
)
def test_match_wildcard(pattern, name, matches):
    """COPY patterns should match whole names and never cross a slash with a star."""
    assert match_wildcard(pattern, name) is matches


@pytest.mark.parametrize("pattern", ["[", "[]a]", "\\", "x[a-", "[a", "[^", "[\\"])
def test_match_wildcard_refuses(pattern):
    """A malformed COPY pattern should be an error even when the name could not match anyway."""
    with pytest.raises(InvalidPattern, match="syntax error in pattern"):
        match_wildcard(pattern, "zzz")


def test_has_wildcard():
    """Only names that need matching should be matched."""
    assert all(map(has_wildcard, ("a*", "a?", "[a]", "\\a")))
    assert not has_wildcard("plain/name.txt")
