"""What can go wrong with a measurement, in words for whoever runs it."""

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """A figure could not be taken; the message says why."""
