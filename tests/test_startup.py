"""What the start of a command does not import: each of these takes between a third of a second and one of CPU."""

import subprocess
import sys

HEAVY = {"torch._dynamo", "sympy", "scipy.stats", "matplotlib", "pandas"}

TRAIN = """
import sys
from pbrl.cli import main
code = main(["train", "env=pendulum", "method=pebble", "steps=12", "agent.learning_starts=4", "run_dir=run",
             "report=false", "agent.hidden=[16,16]", "agent.batch_size=4", "feedback.first=5", "feedback.every=5",
             "feedback.budget=4", "feedback.segment_length=2", "evaluation.every=null"])
print(code, *sorted(sys.modules))
"""

COMPILE_LATE = """
import sys, torch
from pbrl.nets.late_compiler import import_compiler_late
import_compiler_late()

def weights_after(make, steps, wrap=lambda step: step):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = make([weight], lr=0.1)
    def step():
        optimizer.zero_grad()
        (weight ** 3).sum().backward()
        optimizer.step()
    step = wrap(step)
    for _ in range(steps):
        step()
    optimizer.load_state_dict(optimizer.state_dict())
    return weight.detach()

kinds = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD
alone = [weights_after(kind, 3) for kind in kinds]
line = torch.nn.Parameter(torch.ones(3))
def loss():
    line.grad = 2 * line.detach()
    return (line ** 2).sum()
torch.optim.LBFGS([line]).step(loss)  # one that torch wraps in another way
assert line.abs().max() < 0.1
before = "torch._dynamo" in sys.modules
compiled = [weights_after(kind, 3, lambda step: torch.compile(step, backend="eager")) for kind in kinds]
print(before, "torch._dynamo" in sys.modules, all(map(torch.allclose, alone, compiled)))
"""


def last_line(script, folder):
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_run_that_learns_imports_neither_the_compiler_nor_what_draws_figures(tmp_path):
    code, *modules = last_line(TRAIN, tmp_path).split()
    assert code == "0"
    assert "torch" in modules
    assert not HEAVY & set(modules)


def test_the_doctor_leaves_torch_to_the_processes_that_try_it(tmp_path):
    script = "import sys; from pbrl.commands import doctor_command as d; [*d.suites()]; print(*sys.modules)"
    modules = last_line(script, tmp_path).split()
    assert not {"torch", "mujoco", *HEAVY} & set(modules)


def test_a_film_is_written_without_torch(tmp_path):
    script = "import sys; from pbrl.commands.probes import film_and_read; film_and_read(); print(*sys.modules)"
    assert not {"torch", *HEAVY} & set(last_line(script, tmp_path).split())


def test_the_compiler_comes_when_it_is_asked_and_changes_no_step(tmp_path):
    assert last_line(COMPILE_LATE, tmp_path) == "False True True"
