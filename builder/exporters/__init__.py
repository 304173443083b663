"""Where finished images go."""
