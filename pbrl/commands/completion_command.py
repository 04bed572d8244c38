"""`pbrl completion`: a script that teaches a shell the commands, keys and names of pbrl."""

from __future__ import annotations

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError, choices

SHELLS = ("bash", "zsh", "fish")
HELP = """usage: pbrl completion bash|zsh|fish

Prints a script for the shell, which then completes commands, the keys of a config and the names that there are:

  bash   eval "$(pbrl completion bash)"              in ~/.bashrc
  zsh    eval "$(pbrl completion zsh)"               in ~/.zshrc, after compinit
  fish   pbrl completion fish > ~/.config/fish/completions/pbrl.fish

Made anew, it knows the names of a newer pbrl."""

BASH = """_pbrl() {
    local line="${COMP_LINE:0:COMP_POINT}" words word
    word="${line##* }"
    read -ra words <<< "$line"
    COMPREPLY=()
    if [ "${#words[@]}" -lt 2 ] || { [ "${#words[@]}" -eq 2 ] && [ -n "$word" ]; }; then
        COMPREPLY=($(compgen -W "%(verbs)s" -- "$word"))
        return
    fi
    case "${words[1]}" in
        train|demo|collect|bench|tune|icpl) COMPREPLY=($(compgen -W "%(keys)s" -- "$word")) ;;
        %(words)s
    esac
    if [ "${#COMPREPLY[@]}" -eq 0 ]; then
        COMPREPLY=($(compgen -f -- "${word#*=}"))
    elif [ "${#COMPREPLY[@]}" -gt 0 ] && [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#*=}")  # bash takes what stands before the = for a word of its own
    fi
    if [[ "${COMPREPLY[*]}" == *= ]]; then compopt -o nospace 2> /dev/null; fi
}
complete -o filenames -F _pbrl pbrl
"""
OFFER = '%(verb)s) COMPREPLY=($(compgen -W "%(words)s" -- "$word")) ;;'


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(())
    if len(parsed.words) != 1 or parsed.words[0] not in SHELLS:
        given = parsed.words[0] if len(parsed.words) == 1 else f"{len(parsed.words)} names"
        raise UserError(f"pbrl completion {given}: {choices(given, SHELLS)}; {HELP.splitlines()[0]}")
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[parsed.words[0]](), end="")
    return 0


def _bash() -> str:
    from pbrl.cli import VERBS

    words = [OFFER % {"verb": verb, "words": " ".join(offered)} for verb, offered in _words().items()]
    return BASH % {"verbs": " ".join(VERBS), "keys": " ".join(_keys()), "words": "\n        ".join(words)}


def _zsh() -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash()}"


def _fish() -> str:
    from pbrl.cli import VERBS

    verbs = [f"complete -c pbrl -n __fish_use_subcommand -a {name} -d {_quoted(text)}" for name, text in VERBS.items()]
    with_keys = "__fish_seen_subcommand_from train demo collect bench tune icpl"
    keys = f"complete -c pbrl -n {_quoted(with_keys)} -a {_quoted(' '.join(_keys()))}"
    words = [
        f"complete -c pbrl -n {_quoted(f'__fish_seen_subcommand_from {verb}')} -a {_quoted(' '.join(offered))}"
        for verb, offered in _words().items()
    ]
    return "\n".join([*verbs, keys, *words, ""])


def _words() -> dict[str, list[str]]:
    """Return what may stand behind each verb that takes words of its own."""
    from pbrl.commands import data_command, labels_command, tabular_beds, tabular_command
    from pbrl.commands.list_command import LISTS
    from pbrl.tabular.boards import board_names
    from pbrl_envs.registry import suites

    keys = dict.fromkeys([*tabular_beds.KEYS, *tabular_command.KEYS])
    boards = [f"board={name}" for name in board_names()]
    return {
        "list": [*LISTS, *suites()],
        "tabular": [*tabular_beds.BEDS, *boards, *(f"{key}=" for key in keys)],
        "data": list(data_command.ACTIONS),
        "labels": list(labels_command.KEYS),
        "completion": list(SHELLS),
    }


def _keys() -> list[str]:
    """Return what may stand behind `pbrl train`: names of YAMLs, and the keys of a run as it is by default."""
    from omegaconf import OmegaConf

    from pbrl.bench.executors.choose import EXECUTORS
    from pbrl.config import compose_config, leaves, options
    from pbrl.overrides import PLACED

    groups = ("env", "method", "teacher", "queries", "agent", "experiment", "logger")
    places = {**{group: group for group in groups}, **{key: where.split("@")[0] for key, where in PLACED.items()}}
    places |= {"grid": "bench", "space": "tune"}
    named = [f"{key}={name}" for key, group in places.items() for name in options(group)]
    named += [f"executor={name}" for name in EXECUTORS]
    config = compose_config(["env=point_reach"])
    own = [key for key, _ in leaves(OmegaConf.to_container(config)) if not key.rsplit(".", 1)[-1].startswith("_")]
    return [*named, *(f"{key}=" for key in own if key.split(".")[0] != "env"), "resume=", "init="]


def _quoted(text: str) -> str:
    """Quote for fish, in whose quotes a backslash and a quote are escaped."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
