"""Dockerfile text to values: lines, grammar, instructions, word expansion, ignore files."""
