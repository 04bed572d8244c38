"""What a user did wrong, said in one line."""


class UserError(Exception):
    """A mistake in a config, a file or an answer: what, where, what would be valid. The command exits with code 2."""


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
