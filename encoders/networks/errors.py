"""What can be wrong with the description of a network."""


class NetworkError(ValueError):
    """A network that cannot be built as described. The message is a sentence for the user."""
