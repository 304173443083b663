"""The build checks: what a Dockerfile may do and better should not."""
