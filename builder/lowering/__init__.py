"""Instructions to steps and configuration."""
