"""The words of a command line: key=value, plain words, --flags and --option VALUE."""

from __future__ import annotations

from collections.abc import Sequence

from pbrl.errors import SEVERAL, UserError, choices
from pbrl.files import expand_home


class Arguments:
    """Splits arguments; unknown flags are an error that shows the first line of the help."""

    def __init__(
        self, args: Sequence[str], help_text: str, flags: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        self.help = False
        self.flags: set[str] = set()
        self.options: dict[str, str] = {}
        self.words: list[str] = []
        self.values: dict[str, str] = {}
        self.overrides: list[str] = []  # everything that is meant for Hydra, as given
        rest = [_expand_home(arg) for arg in args]
        while rest:
            arg = rest.pop(0)
            if arg in ("-h", "--help"):
                self.help = True
            elif arg in flags:
                self.flags.add(arg)
            elif arg.split("=", 1)[0] in options:
                name, _, value = arg.partition("=")
                if not value and not rest:
                    raise UserError(f"{name} needs a value")
                self.options[name] = value or rest.pop(0)
            elif arg in ("-m", "--multirun"):
                raise UserError(f"{arg}: a command is one run; {SEVERAL}")
            elif arg.startswith("-"):
                valid = choices(arg, [*flags, *options, "--help"])
                raise UserError(f"unknown option {arg}: {valid}; {help_text.splitlines()[0]}")
            else:
                self.overrides.append(arg)
                key, equals, value = arg.partition("=")
                if equals:
                    self.values[key] = value
                else:
                    self.words.append(arg)

    def check_keys(self, valid: Sequence[str]) -> None:
        """Check keys of commands that have a fixed set of them."""
        for key in self.values:
            if key not in valid:
                raise UserError(f"unknown key {key!r}: {choices(key, valid)}")


def _expand_home(arg: str) -> str:
    """Expand ~ also behind an =, where the shell leaves it as it is, and sh does so more often than bash."""
    key, equals, value = arg.partition("=")
    return f"{key}={expand_home(value)}" if equals else expand_home(arg)
