"""``python -m builder``: the command line without an installed script."""

from builder.cli.main import entry

if __name__ == "__main__":
    entry()
