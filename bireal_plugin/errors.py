"""The one exception that means: what the user gave cannot be used, and here is how to get it right."""


class InputError(ValueError):
    """A mistake in a config, a file or a flag, told in one sentence that names it and the way out.

    The commands in ``tools/`` and ``depth/`` print the sentence without a traceback and exit with status 1.
    """
