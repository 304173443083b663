"""How a build is shown while it runs."""
