"""Snapshots made into directories for sandboxes."""
