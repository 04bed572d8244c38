"""Names that went away work for one minor version more, as docs/api.md has it of what methods call."""

import pytest

from pbrl.feedback.desk import Desk


def test_a_method_of_before_tells_the_desk_that_it_learned():
    class Listening(Desk):
        def note_learned(self, score):
            self.heard = score

    desk = Listening()
    with pytest.warns(DeprecationWarning, match="desk.note_learned"):
        desk.learned(abs)
    assert desk.heard is abs
