"""Where a registry keeps its content."""
