"""`pbrl completion`, by bash itself."""

import subprocess

import pytest

ASK = """
{script}
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=$' \\t\\n=:'
_pbrl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(output, tmp_path):
    """`complete(line)`: what bash offers at the end of a line."""
    script = output("completion", "bash")

    def offered(line):
        asked = ASK.format(script=script, line=line)
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return offered


def test_commands_keys_and_names(complete, tmp_path):
    assert complete("pbrl tr") == ["train"]
    assert {"train", "runs", "export", "completion"} <= set(complete("pbrl "))
    assert complete("pbrl train meth") == [found for found in complete("pbrl train meth") if "method" in found] != []
    assert complete("pbrl train method=peb") == ["pebble"]  # what stands before = is another word of bash
    assert complete("pbrl train env=pend") == ["pendulum"]
    assert complete("pbrl train fit.loss=mar") == ["margin"]
    assert complete("pbrl train feedback.bud") == ["feedback.budget="]
    assert complete("pbrl list sam") == ["samplers"]
    assert complete("pbrl list tab") == ["tabular"]
    assert complete("pbrl tabular bar") == ["barfi"]
    assert complete("pbrl tabular board=tow") == ["town"]
    assert complete("pbrl bench grid=smo") == ["smoke"]
    assert complete("pbrl labels lea") == ["leave-out"]
    (tmp_path / "runs_of_mine").mkdir()
    assert complete("pbrl eval runs") == ["runs_of_mine"]
    assert complete("pbrl train resume=runs_of") == ["runs_of_mine"]


def test_scripts_for_other_shells(output, refusal):
    assert output("completion", "zsh") == f"autoload -U +X bashcompinit && bashcompinit\n{output('completion', 'bash')}"
    fish = output("completion", "fish").splitlines()
    assert all(line.startswith("complete -c pbrl -n ") for line in fish)
    assert any("-a runs -d 'one\\'s own runs" in line for line in fish)
    assert "pbrl completion csh: valid are bash, zsh, fish" in refusal("completion", "csh")
    assert "pbrl completion 0 names" in refusal("completion")
