"""What is at fault in a command line, as opposed to in the files that it names."""


class UsageError(ValueError):
    """The command line asks for something that cannot be."""
