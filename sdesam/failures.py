"""Failures with an exit code of their own; imports nothing, so that the command line starts at once."""

__all__ = ["StoreFailed"]


class StoreFailed(Exception):
    """Results are incomplete, or a store cannot be used: exit code 3."""
