"""Filesystem layers: write, apply, diff, look inside, compress."""
