"""The differences between pybuild and its peers that are meant, each with its reason."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """
    A difference that is meant.

    Attributes:
        peer: Who differs.
        cases: The cases in which it is seen, every one of them; none means anywhere.
        pattern: What every line of it matches.
        reason: Why ours stays as it is.
    """

    peer: str
    cases: tuple[str, ...]
    pattern: str
    reason: str


CHOWNED = (
    *("copy-group-folder-chmod", "copy-group-folder-chown"),
    *("chown-lone-name", "chown-name", "chown-name-number", "chown-names", "chown-number"),
    *("chown-number-name", "chown-numbers", "copy-chmod", "copy-chown-over-folder-inside"),
    *("copy-folder-owner-on-existing", "copy-modes-chown", "from-owner-changed"),
)
EXPOSED = (
    *("configured-expose", "expose", "expose-case", "expose-host", "expose-order", "expose-range"),
    *("expose-several-in-variable", "expose-variable"),
)
HEALTH = (
    *("configured-health-none", "health-exec", "health-last", "health-none", "health-shell", "health-start"),
)
SPECIAL = ("from-everything", "from-special", "from-whiteouts")
ROWS = (
    # BuildKit of dockerd 20.10, which is older than the behaviour that we follow.
    Row(
        "docker",
        ("add-tar-chown",),
        r"(history 2: .*ADD --chown|tree .*: owner:)",
        "Today --chown applies to the members of archives; 20.10 gave it to the destination only.",
    ),
    Row(
        "docker",
        ("arg-given", "arg-global-again", "arg-global-given", "arg-platform"),
        r"history \d: .*'ARG ",
        "Today's history shows the value that an ARG has; 20.10 showed its default.",
    ),
    Row(
        "docker",
        ("arg-inherited",),
        r"history 3: .*RUN \|1 v=1 ",
        "Today's BuildKit passes the arguments of a parent stage on in the history of RUN.",
    ),
    Row(
        "docker",
        ("arg-empty", "arg-undeclared", "arg-unset", "env-defaults"),
        r"build: theirs failed",
        "20.10 does not know ${name-word} and ${name+word} without a colon.",
    ),
    Row(
        "docker",
        CHOWNED,
        r"history \d: .*'COPY --(chown|chmod)=",
        "Today's history shows --chown and --chmod; 20.10 left them out.",
    ),
    Row(
        "docker",
        ("cmd-trailing-junk",),
        r"(config Cmd|history 1): ",
        "Text behind the closing bracket makes a shell form; 20.10 ignored what followed the array.",
    ),
    Row(
        "docker",
        EXPOSED,
        r"history \d: ours \('EXPOSE \[.* theirs \('EXPOSE map\[",
        "Today's history lists ports in the order given; 20.10 printed a map.",
    ),
    Row(
        "docker",
        HEALTH,
        r"history \d: ours \('HEALTHCHECK \{.* theirs \('HEALTHCHECK &",
        "Today's history names the parts of a check, --start-interval too; 20.10 printed them quoted.",
    ),
    Row(
        "docker",
        ("copy-chmod", "copy-group-folder-chmod"),
        r"tree '(o|sticky/new)': mode: ours 0o2?751",
        "Octal modes also go to the folders that are made on the way; 20.10 left them 0755.",
    ),
    Row(
        "docker",
        ("copy-fifo", *SPECIAL),
        r"tree '[^']*(/p|/q|/pipe)': only ours",
        "Named pipes are copied by today's BuildKit; 20.10 left them out.",
    ),
    Row(
        "docker",
        ("copy-heredoc", "run-heredoc"),
        r"build: theirs failed",
        "20.10 does not know heredocs without a newer frontend.",
    ),
    Row(
        "docker",
        ("workdir-dots",),
        r"(config WorkingDir|history 1): ",
        "Today's BuildKit cleans the path of WORKDIR; 20.10 stored it as written.",
    ),
    Row(
        "docker",
        ("user-name",),
        r"tree 'tmp/id': ",
        "Since CVE-2023-25173 was mended the main group is among the supplementary ones; 20.10 left it out.",
    ),
    # What `docker save` loses.
    Row(
        "docker",
        ("add-tar-special", "copy-xattrs", *SPECIAL),
        r"tree .*: xattrs: .* theirs \(\)$",
        "20.10 exports no extended attributes but security.capability.",
    ),
    # Where we decided otherwise.
    Row(
        "docker",
        ("add-tar-opaque", "add-tar-whiteouts"),
        r"build: ours failed",
        "Files named like whiteouts cannot be in a layer: they would delete others wherever it is unpacked.",
    ),
    Row(
        "docker",
        ("add-tar-parent",),
        r"build: ours failed",
        "An archive with a member outside of it is damaged or hostile, and the build says so.",
    ),
    Row(
        "docker",
        ("add-tar-escaping-link",),
        r"build: theirs failed",
        "A link that points out of the root means the root itself, as the kernel reads it inside an image.",
    ),
    Row(
        "docker",
        ("chown-unknown", "chown-unknown-group"),
        r"build: ours failed",
        "The Dockerfile reference says that unknown names fail; giving files to root hides mistakes.",
    ),
    Row(
        "docker",
        ("stage-target-number",),
        r"build: theirs failed",
        "Stages may be named by number everywhere, as COPY --from, the classic builder and buildah allow.",
    ),
    Row(
        "docker",
        ("run-etc-hosts",),
        r"tree 'listing': ",
        "A RUN also sees /etc/hostname with the name of its sandbox; it does not get into the layer.",
    ),
    # buildah 1.28.
    Row(
        "buildah",
        (),
        r"tree '(o/)?(etc/hostname|run)': only theirs",
        "buildah leaves the places where it mounted files in the image.",
    ),
    Row(
        "buildah",
        ("add-tar-chown",),
        r"tree .*: owner:",
        "buildah's ADD gives the members of archives their own owners whatever --chown says.",
    ),
    Row(
        "buildah",
        ("add-tar-escaping-link",),
        r"build: theirs failed",
        "A link that points out of the root means the root itself, as the kernel reads it inside an image.",
    ),
    Row(
        "buildah",
        ("add-tar-opaque", "add-tar-whiteouts"),
        r"build: ours failed",
        "Files named like whiteouts cannot be in a layer: they would delete others wherever it is unpacked.",
    ),
    Row(
        "buildah",
        ("add-tar-parent",),
        r"build: ours failed",
        "An archive with a member outside of it is damaged or hostile, and the build says so.",
    ),
    Row(
        "buildah",
        ("add-tar-root-entry", "add-tar-root-entry-new"),
        r"tree '(opt|fresh)': (mode|owner):",
        "BuildKit does not give the destination the mode and owner of the archive's root either.",
    ),
    Row(
        "buildah",
        ("add-group-folder",),
        r"tree 'sticky/new.*: (mode|owner):",
        "New folders in a set-group-ID folder are as mkdir(2) makes them, as with BuildKit.",
    ),
    Row(
        "buildah",
        ("from-case",),
        r"build: theirs failed",
        "Names of stages do not distinguish case; buildah 1.28 does.",
    ),
    Row(
        "buildah",
        ("run-hardlink-across-steps",),
        r"tree 'h[12]': ",
        "buildah makes one layer of all steps; with a layer for each, changing a file of the layer below "
        "breaks its links, as with BuildKit.",
    ),
)


def judge(name, peer, found):
    """The lines that no row covers, and the patterns of rows that cover nothing of this case."""
    rows = [row for row in ROWS if row.peer == peer and (name in row.cases or not row.cases)]
    covered = {line for line in found for row in rows if re.match(row.pattern, line, re.DOTALL)}
    unseen = [
        row.pattern
        for row in rows
        if row.cases and not any(re.match(row.pattern, line, re.DOTALL) for line in found)
    ]
    return [line for line in found if line not in covered], unseen


def named_pairs():
    """Every case that a row names, with the peer."""
    return {(name, row.peer) for row in ROWS for name in row.cases}
