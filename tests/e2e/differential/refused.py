"""The cases that every builder refuses, so that a builder that refuses everything is noticed."""

_NAMES = """
    add-tar-on-file cmd-number copy-file-below-file copy-file-over-folder-inside copy-folder-on-file
    copy-folder-over-file-inside copy-folder-over-link-inside copy-link-by-glob copy-link-dangling
    copy-link-loop copy-link-over-folder-inside copy-missing copy-missing-folder copy-quoted-name
    copy-through-loop empty-stage-name env-name-alone expose-bad from-add from-link-dangling
    from-missing from-unknown-number health-bad health-none-arguments ignore-bad ignore-lone-bang
    ignore-named-source matrix-file-file-slash matrix-file-link-to-file-slash matrix-folder-file
    matrix-folder-file-slash matrix-folder-link-to-file matrix-folder-link-to-file-slash
    matrix-link-to-folder-file matrix-link-to-folder-file-slash matrix-link-to-folder-link-to-file
    matrix-link-to-folder-link-to-file-slash matrix-two-file-slash matrix-two-link-to-file-slash
    onbuild-from onbuild-onbuild run-exec-fallback run-fails shell-not-json stopsignal-bad
    unknown-instruction user-unknown-run volume-blank workdir-file
"""
REFUSED = frozenset(_NAMES.split())
