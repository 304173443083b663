"""Cases about COPY and ADD of contexts and stages: sources, destinations, owners, modes, names."""

import gzip
import itertools

from tests.e2e.differential.cases import Case, Dir, Fifo, File, Hard, Link, archive

SIMPLE = {"a": "a", "b.txt": "b", "d/x": "x", "d/y.txt": "y", "d/sub/z": "z", "e/x": "other", "e/w": "w"}


def _odd(name, body, files=None, args=()):
    return Case(name, f"FROM odd\n{body}", SIMPLE if files is None else files, args)


# What is copied, by what it is, onto what there is, with and without a slash.
SOURCES = {"file": "a", "folder": "d", "link": "l", "link-to-folder": "ld", "glob": "*.txt", "two": "a b.txt"}
DESTINATIONS = {
    "new": "new/place",
    "folder": "opt",
    "file": "opt/h1",
    "link-to-folder": "lib",
    "link-to-file": "srv/to-file",
    "private": "private",
    "escaping": "srv/escape",
    "dangling": "srv/dangling",
}
MATRIX = [
    _odd(
        f"matrix-{source}-{destination}{'-slash' if slash else ''}",
        f"COPY {SOURCES[source]} /{DESTINATIONS[destination]}{slash}",
        {**SIMPLE, "l": Link("a"), "ld": Link("d")},
    )
    for source, destination, slash in itertools.product(SOURCES, DESTINATIONS, ("", "/"))
    if not (slash and source in ("glob", "link")) and not (destination == "private" and source == "two")
]
OWNERS = [
    _odd(f"chown-{label}", f"COPY --chown={value} a d /new/deep/")
    for label, value in {
        "names": "app:extra",
        "name": "app",
        "lone-name": "lone",
        "number": "5",
        "numbers": "5:6",
        "name-number": "app:7",
        "number-name": "7:extra",
        "unknown": "ghost",
        "unknown-group": "app:ghost",
    }.items()
]
FORMS = [
    _odd("copy-json", 'COPY ["a", "b.txt", "/o p/"]'),
    _odd("copy-root", "COPY . /"),
    _odd("copy-dot-workdir", "WORKDIR /w\nCOPY . ."),
    _odd("copy-relative", "WORKDIR /w/v\nCOPY a ../up\nCOPY d ./"),
    _odd("copy-relative-no-slash", "WORKDIR /w\nCOPY a ."),
    _odd("copy-two-folders", "COPY d e /o/"),
    _odd("copy-two-folders-swapped", "COPY e d /o/"),
    _odd("copy-folder-slash", "COPY d/ /o"),
    _odd("copy-nested", "COPY d/sub/z /o/z"),
    _odd("copy-question", "COPY ?.txt /o/"),
    _odd("copy-class", "COPY [a-b]* /o/"),
    _odd("copy-not-class", "COPY [^a]* /o/"),
    _odd("copy-star-folders", "COPY */x /o/"),
    _odd("copy-star-all", "COPY * /o/"),
    _odd("copy-double-star", "COPY ** /o/"),
    _odd("copy-double-star-deep", "COPY **/z /o/"),
    _odd("copy-no-match", "COPY *.none /o/"),
    _odd("copy-no-match-and-file", "COPY *.none a /o/"),
    _odd("copy-escaped-star", r"COPY \*.txt /o/", {"*.txt": "star", "b.txt": "b"}),
    _odd("copy-missing", "COPY gone /o"),
    _odd("copy-missing-folder", "COPY gone/ /o/"),
    _odd("copy-outside", "COPY ../../a /o"),
    _odd("copy-absolute-source", "COPY /a /d/sub /o/"),
    _odd("copy-variable", "ENV s=a t=/o/$s\nCOPY $s ${t}w/\nARG u=d\nCOPY $u $t"),
    _odd("copy-several-no-slash", "COPY a b.txt /o"),
    _odd("copy-folder-on-file", "COPY d /opt/h1"),
    _odd("copy-file-below-file", "COPY a /opt/h1/below"),
    _odd("copy-file-on-folder-name", "COPY a /full/sub", {"a": "a"}),
    _odd("copy-folder-over-file-inside", "COPY t /full/", {"t/a/inner": "i"}),
    _odd("copy-file-over-folder-inside", "COPY t /full/", {"t/sub": "now a file"}),
    _odd("copy-link-over-folder-inside", "COPY t /full/", {"t/sub": Link("a")}),
    _odd("copy-link-over-file-inside", "COPY t /full/", {"t/a": Link("sub/b")}),
    _odd("copy-folder-over-link-inside", "COPY t /", {"t/lib/new": "n"}),
    _odd("copy-file-over-link-inside", "COPY t /srv/", {"t/to-file": "n"}),
    _odd("copy-file-over-hardlink", "COPY t /opt/", {"t/h1": "n"}),
    _odd("copy-empty-folder", "COPY e /o/", {"e": Dir(0o751)}),
    _odd("copy-empty-folders", "COPY . /o/", {"e/f/g": Dir(0o700), "h": Dir(0o777)}),
    _odd("copy-folder-modes", "COPY . /o", {"m": Dir(0o2775), "m/n": Dir(0o1777), "m/f": File("", 0o400)}),
    _odd("copy-folder-mode-on-new", "COPY m /new", {"m": Dir(0o700), "m/f": "f"}),
    _odd("copy-folder-mode-on-existing", "COPY m /opt", {"m": Dir(0o700), "m/f": "f"}),
    _odd("copy-folder-owner-on-existing", "COPY --chown=5:6 d /private/"),
    _odd(
        "copy-folder-over-folder-inside", "COPY t /", {"t": Dir(), "t/private": Dir(0o755), "t/private/n": ""}
    ),
    _odd("copy-chown-over-folder-inside", "COPY --chown=5:6 t /", {"t/private/n": "", "t/full/sub/n": ""}),
    _odd("copy-dotfiles", "COPY . /o/\nCOPY .h* /p/", {".hid": "1", ".hidden/x": "2", "..odd": "3"}),
    _odd("copy-star-dotfiles", "COPY * /o/", {".hid": "1", "seen": "2"}),
    _odd("copy-modes", "COPY . /o/", {"s": File("s", 0o4755), "g": File("g", 0o2711), "n": File("n", 0)}),
    _odd("copy-modes-chown", "COPY --chown=app . /o/", {"s": File("s", 0o4755), "t": File("t", 0o1644)}),
    _odd("copy-host-owner", "COPY . /o/", {"f": File("f", 0o644, (1234, 5678)), "d": Dir(0o755, (7, 8))}),
    _odd("copy-hardlinks", "COPY . /o/", {"one": "1", "two": Hard("one"), "s/three": Hard("one"), "b": "1"}),
    _odd("copy-hardlink-alone", "COPY one /o/\nCOPY two /o/", {"one": "1", "two": Hard("one")}),
    _odd("copy-hardlinks-named", "COPY one two /o/", {"one": "1", "two": Hard("one")}),
    _odd("copy-xattrs", "COPY . /o/", {"f": File("f", xattrs={"user.a": "1", "user.b": "two words"})}),
    _odd("copy-fifo", "COPY . /o/", {"p": Fifo(), "q": Fifo(0o600)}),
    _odd("copy-links-inside", "COPY . /o/", {"l": Link("a"), "m": Link("/etc/passwd"), "n": Link("../../x")}),
    _odd("copy-link-named", "COPY l /o", {"a": "a", "l": Link("a")}),
    _odd("copy-link-named-folder", "COPY l /o/", {"a": "a", "l": Link("a")}),
    _odd("copy-link-to-folder", "COPY l /o/", {"d/x": "x", "l": Link("d")}),
    _odd("copy-link-through", "COPY l/x /o/", {"d/x": "x", "l": Link("d")}),
    _odd("copy-link-chain", "COPY l /o", {"a": "a", "m": Link("a"), "l": Link("m")}),
    _odd("copy-link-absolute", "COPY l /o", {"a": "a", "l": Link("/a")}),
    _odd("copy-link-escaping", "COPY l /o", {"a": "a", "l": Link("../../../a")}),
    _odd("copy-link-dangling", "COPY l /o", {"l": Link("gone")}),
    _odd("copy-link-dangling-inside", "COPY . /o/", {"l": Link("gone")}),
    _odd("copy-link-loop", "COPY l /o", {"l": Link("l")}),
    _odd("copy-link-by-glob", "COPY l* /o/", {"a": "a", "l1": Link("a"), "l2": Link("gone")}),
    _odd("copy-link-to-folder-by-glob", "COPY l* /o/", {"d/x": "x", "l1": Link("d")}),
    _odd("copy-names", "COPY . /o/", {"a b": "1", "ünï": "2", "日本": "3", "new\nline": "4", "q\"'$x": "5"}),
    _odd("copy-name-long", "COPY . /o/", {"n" * 200: "1", f"{'d' * 120}/{'e' * 120}/{'f' * 90}": "2"}),
    _odd("copy-name-backslash", "COPY . /o/", {"back\\slash": "1", "tab\t": "2", " lead": "3"}),
    _odd("copy-name-not-utf8", "COPY . /o/", {"by\udcfftes": "1"}),
    _odd("copy-name-whiteout-like", "COPY f /o/", {"f/.wh": "1", "f/wh.x": "2"}),
    _odd("copy-quoted-name", 'COPY "a b" "/o p"', {"a b": "1"}),
    _odd("copy-twice", "COPY a /o\nCOPY b.txt /o"),
    _odd("copy-through-link", "COPY a /lib/deep/er/"),
    _odd("copy-through-absolute-link", "COPY a /abs/deep/er/"),
    _odd("copy-through-chain", "COPY a /srv/chain/deep/"),
    _odd("copy-through-loop", "COPY a /srv/loop/x"),
    _odd("copy-into-sticky", "COPY d /sticky/"),
    _odd("copy-dot-end", "COPY a /opt/."),
    _odd("copy-dots", "COPY a /opt/../usr/./new"),
    _odd("copy-dockerfile", "COPY Dockerfile /o"),
    _odd("copy-heredoc", "COPY <<EOF /o\nhello $PATH\nEOF"),
    _odd("copy-chmod", "COPY --chmod=751 a d /o/"),
    _odd("copy-user-no-owner", "USER app\nCOPY a d /o/"),
    _odd("copy-setuid-folder-group", "COPY a /sticky/new/deep"),
    _odd("copy-group-folder-chown", "COPY --chown=5:6 a /sticky/new/deep"),
    _odd("copy-group-folder-chmod", "COPY --chmod=751 a /sticky/new/deep"),
    _odd("copy-group-folder-folder", "COPY d /sticky/new/deep"),
    _odd("copy-group-folder-again", "COPY a /sticky/new/\nCOPY d /sticky/new/er/"),
    _odd("workdir-group-folder", "WORKDIR /sticky/new/deep"),
    _odd("workdir-group-folder-user", "USER 5:6\nWORKDIR /sticky/new/deep"),
    _odd("add-like-copy", "ADD a d /o/\nADD *.txt /p"),
]
IGNORED = [
    _odd(f"ignore-{label}", "COPY . /o/", {**SIMPLE, ".dockerignore": text})
    for label, text in {
        "simple": "a\n*.txt\n",
        "folder": "d\n",
        "folder-slash": "/d/\n",
        "deep": "**/x\n",
        "reinclude": "d\n!d/x\n",
        "reinclude-deep": "*\n!d/sub/z\n",
        "reinclude-folder": "*\n!d\n",
        "reinclude-then-exclude": "d\n!d/sub\nd/sub/z\n",
        "all": "*\n",
        "everything": "**\n",
        "comment": "# a\n #b\na\n",
        "star-inside": "d/*\n!d/x\n",
        "itself": ".dockerignore\nDockerfile\n",
        "clean": "./a\nd/../e\n",
        "question": "?\n",
        "class": "[a-d]\n",
        "bang-blank": "*\n! a\n",
        "bang-slash": "*\n!/d/x\n",
        "stars-both": "**/sub/**\n",
        "bad": "[\n",
        "lone-bang": "!\n",
        "crlf": "a\r\nd/x\r\n",
        "bom": "\ufeffa\n",
    }.items()
]
IGNORED += [
    _odd(
        "ignore-own-file", "COPY . /o/", {**SIMPLE, ".dockerignore": "a\n", "Dockerfile.dockerignore": "d\n"}
    ),
    _odd("ignore-named-source", "COPY a /o", {**SIMPLE, ".dockerignore": "a\n"}),
    _odd("ignore-glob-source", "COPY d/* /o/", {**SIMPLE, ".dockerignore": "d/x\n"}),
    _odd(
        "ignore-mode-of-parent",
        "COPY . /o/",
        {"d": Dir(0o775), "d/x": "", "d/y": "", ".dockerignore": "d\n!d/x"},
    ),
    _odd("ignore-empty", "COPY . /o/", {**SIMPLE, ".dockerignore": ""}),
]


def _stages(name, first, second, files=None):
    return Case(name, f"FROM odd AS one\n{first}\nFROM busybox\n{second}", SIMPLE if files is None else files)


STAGES = [
    _stages("from-name", "", "COPY --from=one /full /o"),
    _stages("from-number", "", "COPY --from=0 /full/a /opt/h1 /o/"),
    _stages("from-image", "", "COPY --from=odd /full /o"),
    _stages("from-owners", "", "COPY --from=one /private /home /o/"),
    _stages("from-owner-changed", "", "COPY --from=one --chown=9:9 /private /home /o/"),
    _stages("from-special", "", "COPY --from=one /opt /o/"),
    _stages("from-links", "", "COPY --from=one /srv /o/"),
    _stages("from-link-named", "", "COPY --from=one /srv/to-file /o"),
    _stages("from-link-folder", "", "COPY --from=one /lib /o"),
    _stages("from-link-absolute", "", "COPY --from=one /abs/real /o/"),
    _stages("from-link-escaping", "", "COPY --from=one /srv/escape/real /o/"),
    _stages("from-link-dangling", "", "COPY --from=one /srv/dangling /o"),
    _stages("from-glob", "", "COPY --from=one /opt/h* /o/"),
    _stages("from-relative", "WORKDIR /full\nRUN echo n > new", "WORKDIR /w\nCOPY --from=one full/new ."),
    _stages("from-everything", "RUN rm -r /full/sub && echo n > /full/n", "COPY --from=one / /o/"),
    _stages("from-whiteouts", "RUN rm -r /full/sub /opt/h1", "COPY --from=one /full /opt /o/"),
    _stages(
        "from-run",
        "RUN mkdir -p /r/s && chmod 700 /r/s && ln /bin/sh /r/h && ln /r/h /r/i",
        "COPY --from=0 /r /r",
    ),
    _stages("from-hardlinks", "", "COPY --from=one /opt/h1 /opt/h2 /o/"),
    _stages("from-missing", "", "COPY --from=one /gone /o"),
    _stages("from-later", "COPY --from=1 /bin/sh /o", "ENV a=1"),
    _stages("from-unknown-number", "", "COPY --from=7 /a /o"),
    _stages("from-case", "", "COPY --from=ONE /full /o"),
    _stages("from-add", "", "ADD --from=one /a /o"),
    _stages("from-ignored", "", "COPY --from=one /full /o", {"x": "", ".dockerignore": "**\n"}),
]
TREE = {"f": "f", "s/": Dir(0o750, (3, 4)), "s/g": File("g", 0o600, (5, 6)), "l": Link("f"), "h": Hard("f")}


def _add(name, data, destination="/o/", file="x.tar", flags="", base="odd"):
    return Case(name, f"FROM {base}\nADD {flags}{file} {destination}", {file: data})


ARCHIVES = [
    *(_add(f"add-tar-{pack or 'plain'}", archive(TREE, pack)) for pack in ("", "gz", "bz2", "xz")),
    _add("add-tar-misnamed", archive(TREE, "gz"), file="data.txt"),
    _add("add-tar-new-no-slash", archive(TREE), "/new"),
    _add("add-tar-relative", archive(TREE), "here"),
    _add("add-tar-existing", archive({"a": "new", "sub/": Dir(0o711), "sub/b": "new"}), "/full"),
    _add("add-tar-on-file", archive(TREE), "/opt/h1"),
    _add("add-tar-root", archive(TREE), "/"),
    _add("add-tar-root-entry", archive({"./": Dir(0o700, (9, 9)), "./f": "f"}), "/opt/"),
    _add("add-tar-root-entry-new", archive({"./": Dir(0o700, (9, 9)), "./f": "f"}), "/fresh/"),
    _add("add-tar-implied", archive({"p/q/r": "r"})),
    _add("add-tar-through-link", archive({"lib/new": "n"}), "/"),
    _add("add-tar-link-replaced", archive({"lib": "a file now"}), "/"),
    _add("add-tar-folder-on-link", archive({"lib/": Dir(), "lib/new": "n"}), "/"),
    _add("add-tar-into-link", archive({"new": "n"}), "/lib/"),
    _add("add-tar-into-absolute-link", archive({"new": "n"}), "/abs"),
    _add("add-tar-own-link", archive({"out": Link("/etc"), "in": Link("f"), "f": "f"})),
    _add("add-tar-through-own-link", archive({"out": Link("s"), "s/": Dir(), "out/f": "f"})),
    _add("add-tar-parent", archive({"../up": "u", "ok": "o"}), "/deep/er/"),
    _add("add-tar-absolute", archive({"/abs-name": "u"}), "/deep/"),
    _add("add-tar-escaping-link", archive({"out": Link("../../../etc"), "out/new": "n"}), "/deep/"),
    _add(
        "add-tar-special",
        archive({"p": Fifo(), "suid": File("s", 0o6755), "x": File("x", xattrs={"user.a": "1"})}),
    ),
    _add("add-tar-file-over-folder", archive({"sub": "file"}), "/full/"),
    _add("add-tar-folder-over-file", archive({"a/": Dir(0o711), "a/in": "i"}), "/full/"),
    _add("add-tar-duplicate", archive({"d/f": "1", "d/./f": "2"})),
    _add("add-tar-names", archive({"a b": "1", "ünï": "2", "n" * 150 + "/" + "m" * 150: "3"})),
    _add("add-tar-whiteouts", archive({".wh.a": "", "ok": "o"}), "/full/"),
    _add("add-tar-opaque", archive({"sub/.wh..wh..opq": "", "sub/n": "o"}), "/full/"),
    _add("add-tar-chown", archive(TREE), flags="--chown=5:6 "),
    _add("add-tar-empty", archive({})),
    Case(
        "add-tar-glob",
        "FROM odd\nADD *.tar /o/",
        {"x1.tar": archive({"a": "1"}), "x2.tar": archive({"b": "2"})},
    ),
    _add("add-gzip-no-tar", gzip.compress(b"no archive", mtime=0), file="x.gz"),
    _add("add-empty-file", b"", file="x.tar.gz"),
    _add("add-broken-gzip", archive(TREE, "gz")[:60], file="x.tgz"),
    _add("add-text-named-tar", b"text", file="x.tar"),
    _add("add-into-sticky", archive({"f": "f", "d/": Dir(0o755)}), "/sticky/"),
    _add("add-group-folder", archive({"f": "f", "d/e/f": "f"}), "/sticky/new/"),
    Case("copy-tar-not-unpacked", "FROM odd\nCOPY x.tar /o/", {"x.tar": archive(TREE)}),
    Case("add-folder-with-tar", "FROM odd\nADD d /o/", {"d/x.tar": archive(TREE)}),
]
COPY = [*MATRIX, *OWNERS, *FORMS, *IGNORED, *STAGES, *ARCHIVES]
