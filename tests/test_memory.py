"""Free memory is what the smallest of the machine, a container and a job has left."""

import math
import platform
import resource
from pathlib import Path

import numpy as np
import pytest

from pbrl import memory
from pbrl.memory import GIB, free_memory


@pytest.fixture
def system(tmp_path, monkeypatch):
    """`system(groups, files)`: /proc/self/cgroup, and files below /sys/fs/cgroup; the machine has 64 GiB left."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {64 * GIB // 1024} kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "VERSION_2", memory.VERSION_2._replace(root=tmp_path / "fs"))
    monkeypatch.setattr(memory, "VERSION_1", memory.VERSION_1._replace(root=tmp_path / "fs" / "memory"))

    def write(groups, files):
        (tmp_path / "cgroup").write_text(groups)
        for name, content in files.items():
            file = tmp_path / "fs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")

    return write


def limits(folder, limit, used, cached=0):
    stat = f"anon 5\ninactive_file {cached}\nactive_file {cached}"
    return {f"{folder}memory.max": limit, f"{folder}memory.current": used, f"{folder}memory.stat": stat}


def test_what_a_container_has_taken_is_not_free(system):
    system("0::/\n", limits("", 8 * GIB, 6 * GIB))
    assert free_memory() == 2 * GIB


def test_files_that_are_cached_give_way(system):
    system("0::/\n", limits("", 8 * GIB, 6 * GIB, cached=GIB))
    assert free_memory() == 4 * GIB


def test_the_tightest_of_a_group_and_those_it_lies_in_counts(system):
    system(
        "0::/slurm/job\n",
        {"cgroup.procs": ""} | limits("slurm/job/", "max", GIB) | limits("slurm/", 16 * GIB, 13 * GIB),
    )
    assert free_memory() == 3 * GIB
    system("0::/slurm/job\n", limits("slurm/job/", 4 * GIB, 5 * GIB))
    assert free_memory() == 0


def test_groups_of_the_first_version_count_too(system):
    job = "memory/slurm/job/memory"
    files = {f"{job}.limit_in_bytes": 4 * GIB, f"{job}.usage_in_bytes": GIB, f"{job}.stat": "total_inactive_file 7"}
    system("5:cpu,cpuacct:/slurm\n4:memory:/slurm/job\n1:name=systemd:/\n0::/\n", files)
    assert free_memory() == 3 * GIB + 7


def test_without_a_group_the_machine_counts_and_without_linux_nothing(system, monkeypatch, tmp_path):
    system("0::/\n", {})
    assert free_memory() == 64 * GIB
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "nowhere")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "nowhere")
    assert free_memory() == math.inf


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no such pieces")
def test_what_was_freed_between_things_that_stay_is_given_back():
    blocks = [np.ones(8192) for _ in range(3000)]  # 64 KiB each: too small to be mapped by itself
    kept = blocks[::2]
    blocks.clear()
    held = resident()
    memory.give_back()
    assert held - resident() > 60 * 2**20  # of 94 MiB
    assert all(block.sum() == 8192 for block in kept)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
