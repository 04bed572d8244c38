"""SLURM on this machine for the length of a test: its own daemons, ports and folder, none of the system's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
HOW_TO_GET = "needs SLURM; on Debian: apt-get install slurm-wlm"
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
PATIENCE_S = 60

# linuxproc and task/none do without cgroups, config_overrides without as many cores as are promised.
CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0,defer_batch
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    return [name for name in DAEMONS if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm_here() -> Iterator[Path]:
    """One node of two cores; yields the path of slurm.conf, which SLURM_CONF must name for its commands."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short: the name of a socket has at most 107 letters
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, node = _free_ports(2)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    conf = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    conf.write_text(CONF.format(host=host, controller=controller, node=node, user=user, folder=folder))
    munge = [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", f"--key-file={key}", *munge))
        _wait_for(lambda: (folder / "munge.socket").exists(), folder)
        stack.enter_context(_daemon(folder, "slurmctld", "-D", "-f", str(conf)))
        stack.enter_context(_daemon(folder, "slurmd", "-D", "-f", str(conf)))
        _wait_for(lambda: "idle" in _sinfo(conf), folder)
        yield conf


@contextmanager
def _daemon(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    binary = shutil.which(name, path=PATH)
    assert binary is not None
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen([binary, *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def _sinfo(conf: Path) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    environment = os.environ | {"SLURM_CONF": str(conf)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout


def _wait_for(fact: object, folder: Path) -> None:
    assert callable(fact)
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        said = "\n".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("*.out"))
        assert time.monotonic() < deadline, f"SLURM does not start here:\n{said}"
        time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
