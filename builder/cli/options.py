"""What the verbs' argument parsers share."""

from __future__ import annotations

import argparse


def formatter(prog: str) -> argparse.HelpFormatter:
    """Help with a wide first column, so that flags and their texts stay on one line."""
    return argparse.HelpFormatter(prog, max_help_position=34, width=100)


def add_root(parser: argparse.ArgumentParser) -> None:
    """``--root``, which every verb that touches the store has."""
    parser.add_argument(
        "--root", metavar="DIR", help="store to use (default: PYBUILD_ROOT or the user's own)"
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """``--progress`` and ``-q``, which every verb that takes a while has."""
    parser.add_argument(
        "--progress", default="auto", choices=("auto", "plain", "tty", "json", "quiet"), help="how to report"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_const", dest="progress", const="quiet", help="print the result only"
    )


def verb(name: str, description: str, *, usage: str = "", root: bool = True) -> argparse.ArgumentParser:
    """A parser for one verb."""
    parser = argparse.ArgumentParser(
        prog=f"pybuild {name}",
        usage=f"pybuild {name} {usage}" if usage else None,
        description=description,
        formatter_class=formatter,
    )
    if root:
        add_root(parser)
    return parser
