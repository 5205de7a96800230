"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A wrong key, path, file, shape or value.

    The message is one line: what is wrong, where, and how to mend it. Every command
    prints it without a traceback and exits with code 2 (see `cli.run`).
    """
