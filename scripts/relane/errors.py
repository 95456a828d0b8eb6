"""The one exception that means "your input is wrong", as against "our code is wrong"."""

from relane.addresses import redact


class InputError(Exception):
    """Bad input from the user: a file, a row, a key, a folder.

    The message names which file, row or key, says what is wrong with it and what to do about it. Scripts print
    it as one line and exit with status 2; any other exception is a bug and keeps its traceback. Logins and queries
    of addresses in it are taken out.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redact(str(message)))


class FetchError(InputError):
    """A source did not come over the network: it may by itself when it is tried again, or never."""


class UndrivableError(InputError):
    """One clip cannot be driven at one instant: a fault of its data, which says nothing of the other clips.

    The driving stage may record it and go on without the clip; an InputError of any other kind stops the stage.
    """


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of what an error says, at most `limit` characters; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]
