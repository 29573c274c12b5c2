"""The exception for mistakes of a user."""


class InputError(ValueError):
    """A mistake in a config, a file or a flag; the message is one sentence that names it and says how to correct it.

    The commands print it without a traceback and exit with status 1.
    """
