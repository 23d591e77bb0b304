"""Errors of training whose message is a sentence for the user."""


class SourceError(ValueError):
    """Something to start from that cannot be found or used."""
