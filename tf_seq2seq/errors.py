"""The one error of what a user gave: a file, a text, an option, an artefact."""


class InputError(ValueError):
    """Something given from outside is unusable; the message is one line that says what to do.

    The command line prints it without a traceback and ends with exit code 2.
    """
