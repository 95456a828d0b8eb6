"""The one exception that means "your input is wrong", as against "our code is wrong"."""


class InputError(Exception):
    """Bad input from the user: a file, a row, a key, a folder.

    The message names which file, row or key, says what is wrong with it and what to do about it. Scripts print
    it as one line and exit with status 2; any other exception is a bug and keeps its traceback.
    """
