"""Shared flags, parsing and exit codes of the commands."""
