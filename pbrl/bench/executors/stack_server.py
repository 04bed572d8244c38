"""The process that makes the updates of many runs: a `SeedStack` for all that have the same problem."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import Tensor

from pbrl.agents.sac_update import Batch
from pbrl.agents.seed_stack import Problem, SeedStack
from pbrl.agents.stacked_updates import receive, send, unpacked
from pbrl.errors import UserError, one_line

AT_ONCE = 8  # updates in one call, at most
POLL_S = 0.2


@dataclass(eq=False)
class Member:
    """A run: what it is waiting for."""

    line: Connection
    problem: Problem | None = None
    wanted: int = 0  # updates
    done: int = 0  # of these
    batches: list[Tensor] = field(default_factory=list)  # each (K, B, ·), the noise last
    sums: Tensor = field(default_factory=lambda: torch.zeros(4))


class Group:
    """Runs of one problem. Updates are made when all of them wait for some."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self.problem, self.device = problem, device
        self.members: list[Member] = []
        self.stack: SeedStack | None = None

    def add(self, member: Member) -> None:
        self._restack([*self.members, member])

    def remove(self, member: Member) -> None:
        self._restack([m for m in self.members if m is not member])

    def _restack(self, members: list[Member]) -> None:
        """Stack anew for another number of seeds; those that stay keep their numbers, also where there is no room."""
        kept = {id(m): self.stack.get(i) for i, m in enumerate(self.members) if self.stack is not None}
        stack = SeedStack(self.problem, len(members), self.device) if members else None
        for i, member in enumerate(members):
            if stack is not None and id(member) in kept:
                stack.put(i, kept[id(member)])
        self.members, self.stack = members, stack

    def work(self) -> bool:
        """Make some updates, if everybody waits for one; return whether there were any."""
        if self.stack is None or not all(m.wanted for m in self.members):
            return False
        count = min(AT_ONCE, *(m.wanted - m.done for m in self.members))
        parts = [
            torch.stack([m.batches[i][m.done : m.done + count] for m in self.members], 1)
            for i in range(len(self.problem.batch_sizes()))
        ]
        sums = self.stack.update(Batch(*parts[:-1]), parts[-1]).cpu()
        for i, member in enumerate(self.members):
            member.sums = member.sums + sums[i]
            member.done += count
            if member.done == member.wanted:
                with contextlib.suppress(UserError):  # one that has ended is forgotten when its line is heard
                    send(member.line, {"do": "trained"}, [member.sums, self.stack.actor_weights(i)])
                member.wanted, member.done, member.batches, member.sums = 0, 0, [], torch.zeros(4)
        return True


class StackServer(threading.Thread):
    """Hears the runs and makes their updates, until `end`."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(daemon=True, name="pbrl stack")
        self.device = device
        self.members: dict[Connection, Member] = {}
        self.groups: dict[str, Group] = {}
        self.joined = 0  # runs whose updates were made here
        self._lock, self._ended = threading.Lock(), threading.Event()

    def line(self) -> Connection:
        """Return the end of a new run's line, to be given to its process and closed here."""
        ours, theirs = multiprocessing.Pipe()
        with self._lock:
            self.members[ours] = Member(ours)
        return theirs

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                self._turn()
        finally:  # whatever came: a run whose line stayed open would wait for ever
            for line in self.members:
                line.close()

    def _turn(self) -> None:
        with self._lock:
            lines = list(self.members)
        for ready in wait(lines, POLL_S) if lines else [self._ended.wait(POLL_S)]:
            if isinstance(ready, Connection):
                self._hear(self.members[ready])
        for group in self.groups.values():
            self._work(group)

    def _work(self, group: Group) -> None:
        try:
            while group.work():
                pass
        except Exception as error:  # the runs say it, and fail; the bench goes on
            self._refuse(group, error)

    def _hear(self, member: Member) -> None:
        try:
            header, numbers = receive(member.line)
            self._obey(member, header, numbers)
        except UserError:  # its process has ended
            self._forget(member)
        except Exception as error:
            self._tell(member, f"the stack cannot do this: {type(error).__name__}: {one_line(error)}")

    def _obey(self, member: Member, header: Mapping[str, Any], numbers: Tensor) -> None:
        if header["do"] == "join":
            member.problem = Problem.of(header["problem"])
            key = header["problem"]
            group = self.groups.setdefault(key, Group(member.problem, self.device))
            group.add(member)
            self.joined += 1
            return
        assert member.problem is not None
        group = self.groups[str(member.problem)]
        seed = group.members.index(member)
        assert group.stack is not None
        if header["do"] == "take":
            group.stack.put(seed, unpacked(numbers, member.problem))
        elif header["do"] == "give":
            state = group.stack.get(seed)
            send(member.line, {"do": "given"}, [state[name] for name in member.problem.state_sizes()])
        else:
            member.wanted, shapes = header["updates"], member.problem.batch_sizes().values()
            shaped = [(member.wanted, *shape) for shape in shapes]
            flat = numbers.split([torch.Size(shape).numel() for shape in shaped])
            member.batches = [part.view(shape) for part, shape in zip(flat, shaped, strict=True)]

    def _refuse(self, group: Group, error: Exception) -> None:
        for member in list(group.members):
            self._tell(member, f"the stack's update failed: {type(error).__name__}: {one_line(error)}")
            self._forget(member)

    def _tell(self, member: Member, problem: str) -> None:
        try:
            send(member.line, {"error": problem})
        except UserError:
            self._forget(member)

    def _forget(self, member: Member) -> None:
        with self._lock:
            self.members.pop(member.line, None)
        member.line.close()
        if member.problem is not None and member in (group := self.groups[str(member.problem)]).members:
            group.remove(member)
