"""Asks the questions of a labelling project while a viewer shows them."""

from __future__ import annotations

import sys
import threading
import time

from pbrl.errors import UserError, as_line, typed
from pbrl.feedback.status import write_status
from pbrl.labelling.project import Project
from pbrl.labels.questions import answers_given, last_answer
from pbrl.labels.store import LabelStore
from pbrl.viewer.renderer import Renderer

LOOK_S = 0.3  # between looks for answers
DRAW_S = 60.0  # that a graphics driver may take to start


class Asker:
    """A context manager beside the viewer; questions come from a thread, with a label store of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._work, daemon=True)
        self._error: Exception | None = None
        self._seen, self._told = -1, False

    def __call__(self, renderer: Renderer) -> Asker:
        self._renderer = renderer
        return self

    def __enter__(self) -> None:
        require_drawing(self._renderer)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            with LabelStore(self.project.folder) as store:
                while True:
                    self.turn(store)
                    if self._stop.wait(LOOK_S):
                        return
        except Exception as error:  # the viewer goes on with what was asked; the command ends with this
            self._error = error
            print(f"pbrl: no more questions are asked: {as_line(error)}", file=sys.stderr, flush=True)

    def turn(self, store: LabelStore) -> None:
        """Ask where few questions are left open. A chooser that learns has all the answers so far."""
        if (newest := last_answer(store.db)) == self._seen:
            return
        plan, given = self.project.plan, answers_given(store.db)
        asked = [query for query in store.queries(kind=None, criterion=None) if query.session >= 0]
        open_now = sum(given.get(query.id, 0) < self.project.overlap for query in asked)
        n = min(plan.per_session - open_now, plan.questions - len(asked))
        if n > 0 and open_now <= plan.per_session // 2:
            session = len({query.session for query in asked})
            questions = self.project.chooser.choose(n, session, store)
            store.ask(session, 0, questions, sampler=self.project.chooser.name)
        write_status(self.project.folder, "collecting", budget=plan.questions, spent=len(asked) + max(n, 0))
        self._seen = newest
        if open_now == 0 and n <= 0 and not self._told:
            self._told = True
            how = typed("labels", "export", str(self.project.folder), "out=FOLDER")
            print(f"pbrl: all {len(asked)} questions are answered; Ctrl-C ends, then: {how}", flush=True)


def require_drawing(renderer: Renderer) -> None:
    """Wait until clips can be drawn; UserError says why they cannot."""
    until = time.monotonic() + DRAW_S
    while (report := renderer.report())["state"] == "starting" and time.monotonic() < until:
        time.sleep(0.05)
    if report["state"] == "failed":
        raise UserError(str(report["message"]))
