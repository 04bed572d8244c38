"""The vision-language model as a teacher, against a server that looks at the pictures, and recorded replies."""

import base64
import io
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import train

from pbrl.endpoint import Endpoint
from pbrl.labels.store import LabelStore
from pbrl.teachers.vlm import Opinion, VlmTeacher, opinion_in


class Server(HTTPServer):
    """`replies` in order; without any, the clip with the brighter pictures is better."""

    replies = ()
    confidence = 0.9

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    def say(self, body):
        self.asked.append(body)
        if self.replies:
            return self.replies.pop(0)
        content = body["messages"][-1]["content"]
        second = next(i for i, part in enumerate(content) if part.get("text") == "Second clip:")
        bright = [np.mean([seen(p) for p in part if "image_url" in p]) for part in (content[:second], content[second:])]
        better = "equal" if bright[0] == bright[1] else "first" if bright[0] > bright[1] else "second"
        return f"I compared both.\n{json.dumps({'better': better, 'confidence': self.confidence})}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.server.say(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200 if text is not None else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    def log_message(self, *_):
        pass


def seen(part):
    """The mean of a picture that was sent."""
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).mean()


@pytest.fixture
def server():
    with Server() as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


def make(server, **changes):
    endpoint = partial(Endpoint, model="looker", base_url=f"http://127.0.0.1:{server.server_port}/v1")
    numbers = {"task": "be bright", "frames": 2, "size": 32, "confidence": 0.6, "tries": 2, "mode": "async"}
    people = {"poll": 10, "learn_every": 1, "max_age_steps": None, "timeout_s": None}
    return VlmTeacher(torch.Generator(), endpoint=endpoint, **numbers | people | changes)


def clip(*values):
    return [np.full((4, 4, 3), value, np.uint8) for value in values]


def reply(better, confidence=0.9):
    return json.dumps({"better": better, "confidence": confidence})


def test_it_is_asked_about_the_pictures_in_both_orders(server):
    teacher = make(server)
    assert teacher.look(clip(10, 20), clip(200, 210)) == 1
    assert teacher.look(clip(200, 210), clip(10, 20)) == 0
    assert teacher.look(clip(7), clip(7)) == 0.5
    one, other = (
        [round(seen(p)) for p in body["messages"][1]["content"] if "image_url" in p] for body in server.asked[:2]
    )
    assert (one, other) == ([10, 20, 200, 210], [200, 210, 10, 20])
    assert server.asked[0]["model"] == "looker"
    assert "be bright" in server.asked[0]["messages"][1]["content"][0]["text"]


@pytest.mark.parametrize(("replies", "value"), [
    ([reply("first"), reply("first")], 0.5),  # it likes whatever stands first
    ([reply("first"), reply("equal")], 0.5),
    ([reply("first"), reply("second")], 0),
    ([reply("first", 0.9), reply("second", 0.2)], None),  # 0.55 in the mean
    ([reply("first", 0.9), reply("second", 0.4)], 0),
    (["no idea", reply("second"), "```json\n" + reply("first") + "\n```"], 1),  # asked again, and read from a block
    (["no idea", "the second one", reply("first")], None),  # never an answer that can be read
])  # fmt: skip
def test_two_replies_make_an_answer_or_a_question_for_people(server, replies, value):
    server.replies = list(replies)
    teacher = make(server)
    assert teacher.look(clip(1), clip(2)) == value
    assert teacher.metrics()["feedback/model_to_people"] == (value is None)


@pytest.mark.parametrize("text", [
    "", "{}", '{"better": "left", "confidence": 1}', '{"better": "first"}', '{"better": "first", "confidence": true}',
    '{"better": "first", "confidence": 7}', '{"better": ["first"], "confidence": 1}',
    '{"better": "first", "confidence": NaN}',
])  # fmt: skip
def test_a_reply_that_does_not_say_it_is_none(text):
    assert opinion_in(text) is None
    assert opinion_in(f"{text} {reply('second', 1)}") == Opinion(1.0, 1.0)


RUN = ["teacher=vlm", "viewer.start=false", "teacher.task=reach", "teacher.size=32", "teacher.frames=2"]
RUN += ["teacher.poll=40", "teacher.learn_every=2", "teacher.endpoint.model=looker"]


def test_a_run_learns_from_the_model_and_leaves_to_people_what_it_is_not_sure_of(server, tmp_path):
    server.replies = [reply("first"), reply("second")] * 3 + [reply("first", 0.1)] * 200  # sure of three questions
    url = f"teacher.endpoint.base_url=http://127.0.0.1:{server.server_port}/v1"
    code, _, err = train(tmp_path / "run", *RUN, url, "feedback.budget=8")
    assert code == 0, err
    with LabelStore(tmp_path / "run", create=False) as store:
        answers, waiting = store.standing_answers(), store.open_queries(1)
    assert [(a.annotator, a.prefers_right) for a in answers] == [("model:looker", 0)] * 3
    assert len(waiting) > 0
    assert len(server.asked) == 2 * (len(answers) + len(waiting))  # each once, in both orders
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["teacher"], summary["labels"]) == ("vlm", 3)
    assert summary["reward_updates"] > 0


SCHEDULE = ["feedback.first=100", "feedback.every=100", "feedback.per_session=3", "feedback.schedule=decay"]


@pytest.mark.parametrize("poll", [70, 1000])
def test_it_is_asked_when_and_as_much_as_a_script_however_often_the_run_looks_for_people(server, tmp_path, poll):
    server.replies = [reply("first", 0.1)] * 200  # all goes to people, who never come
    url = f"teacher.endpoint.base_url=http://127.0.0.1:{server.server_port}/v1"
    asked = {}
    for name, own in (("script", []), ("model", [*RUN, url, f"teacher.poll={poll}"])):
        code, _, err = train(tmp_path / name, *own, *SCHEDULE, "feedback.budget=100")
        assert code == 0, err
        with LabelStore(tmp_path / name, create=False) as store:
            asked[name] = [query.env_steps for query in store.queries()]
    assert asked["model"] == asked["script"]
    assert len(set(asked["script"])) > 1


def test_a_server_that_fails_later_leaves_its_questions_to_people(server, tmp_path):
    server.replies = [reply("first"), reply("second"), *[None] * 200]
    url = f"teacher.endpoint.base_url=http://127.0.0.1:{server.server_port}/v1"
    code, _, err = train(tmp_path / "run", *RUN, url, "feedback.budget=8")
    assert code == 0, err
    assert "goes to people" in err
    assert "answers 503" in err
    with LabelStore(tmp_path / "run", create=False) as store:
        assert (len(store.standing_answers()), len(store.open_queries(1)) > 0) == (1, True)


def test_nobody_to_ask_ends_the_run_in_a_line(tmp_path):
    nowhere = "teacher.endpoint.base_url=http://127.0.0.1:9/v1"
    code, _, err = train(tmp_path / "run", *RUN, nowhere, "feedback.budget=8")
    assert code == 2
    assert "is a server of looker running there?" in err


@pytest.mark.parametrize(("without", "message"), [
    ("teacher.task=null", "say in words what the agent should do"),
    ("teacher.endpoint.model=null", "give the name that the server has for it"),
    ("teacher.mode=mixed", "valid are async, block"),
    ("teacher.size=33", "expected an even number of pixels"),
    ("queries=uniform fit.loss=thumbs", "teacher=vlm answers questions of kind segment_pair, and method=pebble asks"),
])  # fmt: skip
def test_what_is_missing_is_said_before_the_run(tmp_path, without, message):
    code, _, err = train(tmp_path / "run", *RUN, *without.split())
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not (tmp_path / "run").exists()
