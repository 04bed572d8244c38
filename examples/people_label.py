"""You answer in the browser while a point learns where to go: python examples/people_label.py [STEPS] [--program]

With --program a few lines answer in your place, over HTTP as the page does.
"""

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pbrl
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.opened import find_opened

RUN = Path("runs/people")


def answer_by_program() -> None:
    """Says "left" to each pair that waits. Never do this to a run that you care about."""
    while (viewer := find_opened(RUN)) is None:
        time.sleep(0.1)
    client = ViewerClient(viewer.url, "a program")
    client.enter()
    with suppress(OSError):  # the page is closed when training ends
        while True:
            for pair in client.next(5):
                client.answer(pair, "left")
            time.sleep(0.1)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    program = "--program" in sys.argv
    if program:
        threading.Thread(target=answer_by_program, daemon=True).start()
    run = pbrl.train(
        env="point_reach",
        teacher="human",
        teacher__mode="block",  # each session waits for its answers; "async" trains on meanwhile
        steps=numbers[0] if numbers else 10_000,
        feedback={"first": 1000, "every": 2000, "per_session": 10, "budget": 50},
        viewer__open_browser=not program,
        run_dir=str(RUN),
    )
    labels = pbrl.load_labels(run.path)
    print(f"{len(labels.comparisons.prefers_right)} answers; {run}")
