"""ICPL: programs as data, who proposes them, rounds, the command, and what choosing is worth."""

import csv
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
from person import Person
from tiny import COMMON, SAC

from pbrl.cli import main
from pbrl.commands import icpl_command, side_by_side
from pbrl.commands.icpl_command import _ask
from pbrl.endpoint import Endpoint
from pbrl.errors import UserError
from pbrl.labelling.policies import PolicyJudges
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice
from pbrl.rewards.kept_rounds import KeptProposer
from pbrl.rewards.programs import RewardProgram
from pbrl.rewards.proposers import (
    GRAMMAR,
    EndpointProposer,
    GrammarProposer,
    RecordedProposer,
    Verdict,
    weights_of,
)
from pbrl.rewards.rounds import Trained, by_score, rounds
from pbrl.tabular.three_axes import ROUNDS, best_so_far
from pbrl.viewer.desk import Given

NAMES = ("distance", "effort")


def test_a_program_computes_what_it_says():
    text = "near = exp(-distance)\ngood = near if effort < 0.5 else 0\nreward = 2 * good - min(effort, 1) ** 2 / 4"
    program = RewardProgram(text, NAMES)
    distance, effort = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.7, 0.2])
    expected = 2 * np.exp(-distance) * (effort < 0.5) - np.minimum(effort, 1) ** 2 / 4
    np.testing.assert_allclose(program({"distance": distance, "effort": effort}), expected)
    assert float(RewardProgram("-distance", NAMES)({"distance": 3, "effort": 0})) == -3
    assert float(RewardProgram("a = 2; reward = a * effort", NAMES)({"distance": 0, "effort": 4})) == 8
    assert np.isfinite(RewardProgram("reward = 1 / (distance - distance)", NAMES)({"distance": 1, "effort": 1}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reward = __import__('os').system('true')", "calls __import__"),
        ("reward = (lambda: 1)()", "calls"),
        ("reward = distance.__class__", "Attribute"),
        ("reward = [x for x in (1,)][0]", "Subscript"),
        ("reward = open('/etc/passwd')", "calls open"),
        ("import os", "is not `name = expression`"),
        ("while 1: pass", "is not `name = expression`"),
        ("reward = speed", "reads 'speed'"),
        ("reward = distance ** 99999999", "the power 99999999"),
        ("reward = distance ** effort", "a power that is not a number"),
        ("reward = 'a' * 999999", "has 'a'"),
        ("reward = " + "9" * 3000, "valid are numbers up to"),
        ("reward = distance ** " + "9" * 3000, "valid are 0 to 4"),
        ("reward = 1e300", "valid are numbers up to"),
        ("reward = clip(distance, 0)", "clip of a reward program takes 3 arguments"),
        ("distance = 1\nreward = distance", "gives distance another meaning"),
        ("x = 1", "ends with `reward = ...`"),
        ("", "ends with `reward = ...`"),
        ("reward = " + "(" * 300 + "1" + ")" * 300, "cannot be read"),
        ("reward = " + "+".join(["1"] * 500), "more than 400 parts"),
    ],
)
def test_what_is_not_on_the_list_is_refused(text, said):
    with pytest.raises(UserError) as refused:
        RewardProgram(text, NAMES)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250


def test_the_grammar_goes_from_the_worst_past_the_best():
    rng = np.random.default_rng(0)
    numbers = {**GRAMMAR, "fresh": 0, "noise": 0.0}
    made = GrammarProposer(**numbers, rng=rng).propose(5, NAMES, Verdict("reward = distance", "reward = 2 * effort"))
    weights = np.array([weights_of(program) for program in made])
    past = weights[:, 0] - 1
    np.testing.assert_allclose(weights[0], [1, 0], atol=1e-3)
    np.testing.assert_allclose(weights[:, 1], -2 * past, atol=1e-3)
    assert (past >= -1e-3).all()
    assert past.max() <= 1
    first = GrammarProposer(**{**GRAMMAR, "terms": 1}, rng=rng).propose(20, NAMES, None)
    assert all((weights_of(program) != 0).sum() <= 1 for program in first)


@pytest.fixture
def server():
    """A fake endpoint that gives the `replies` in order, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            http.asked.append((self.path, self.headers.get("Authorization"), body))
            content = {"choices": [{"message": {"content": http.replies.pop(0)}}]} if http.replies else {"error": "no"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    http.replies, http.asked = [], []
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def test_an_endpoint_is_asked_again_for_what_cannot_be_used_and_told_the_verdict(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    server.replies = ["Sure!\n```python\nreward = os\n```", "Here:\n```\nreward = -distance\n```", "reward = effort"]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    proposer = EndpointProposer(endpoint=Endpoint("tiny", url, "MY_KEY"), task="reach the goal")
    last = Verdict("reward = 1", "reward = 2", {"reward = 1": {"distance": [0.5, 0.25]}})
    made = proposer.propose(2, NAMES, last)
    assert [program.text for program in made] == ["reward = -distance", "reward = effort"]
    path, key, body = server.asked[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "tiny")
    said = body["messages"][-1]["content"]
    assert "reach the goal" in said
    assert "distance, effort" in said
    assert "The best one:\nreward = 1" in said
    assert "distance: 0.5, 0.25" in said
    with pytest.raises(UserError, match="did not answer as an OpenAI-compatible server"):
        proposer.propose(1, NAMES, None)


def test_a_server_on_this_machine_is_asked_without_the_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    server.replies = ["hello"]
    assert Endpoint("tiny", f"http://127.0.0.1:{server.server_port}/v1").chat([]) == "hello"


def test_without_a_server_or_a_key_one_line_says_so(monkeypatch):
    with pytest.raises(UserError, match="is a server of tiny running there"):
        Endpoint("tiny", "http://127.0.0.1:9/v1", timeout_s=2).chat([])
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ValueError, match="key_env=MY_KEY: this environment variable is not set"):
        Endpoint("tiny", key_env="MY_KEY")


def test_a_key_goes_to_its_own_server_alone_and_into_no_message(server, monkeypatch):
    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}/stolen")
            self.end_headers()

        def log_message(self, *_):
            pass

    stolen = []
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", lambda h: stolen.append(dict(h.headers)), raising=False)
    monkeypatch.setenv("MY_KEY", "secret")
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as http:
        threading.Thread(target=http.handle_request, daemon=True).start()
        with pytest.raises(UserError):
            Endpoint("tiny", f"http://127.0.0.1:{http.server_port}/v1", "MY_KEY", timeout_s=5).chat([])
    assert len(stolen) == 1
    assert "Authorization" not in stolen[0]
    monkeypatch.setenv("MY_KEY", "secret\n")  # as $(cat FILE) does not leave it, but files of secrets do
    server.replies = ["hello"]
    assert Endpoint("tiny", f"http://127.0.0.1:{server.server_port}/v1", "MY_KEY").chat([]) == "hello"
    assert server.asked[-1][1] == "Bearer secret"
    monkeypatch.setenv("MY_KEY", "sec\nret")
    with pytest.raises(ValueError, match="characters that no key has") as refused:
        Endpoint("tiny", key_env="MY_KEY")
    assert "sec" not in str(refused.value)


def test_recorded_replies_come_in_order(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text("\n".join(map(json.dumps, ["no program", "```\nreward = effort\n```", "reward = 2 * effort"])))
    proposer = RecordedProposer(replies=str(file))
    assert [p.text for p in proposer.propose(2, NAMES, None)] == ["reward = effort", "reward = 2 * effort"]
    with pytest.raises(UserError, match="used up"):
        proposer.propose(1, NAMES, None)


def test_the_next_round_hears_of_the_best_and_the_worst():
    heard = []

    class Proposer:
        def propose(self, n, inputs, last):
            heard.append(last)
            return [RewardProgram(f"reward = {i} * effort", inputs) for i in range(n)]

    def train(programs):
        return [Trained(p, -((i - 1) ** 2), {"effort": [i]}) for i, p in enumerate(programs)]

    found = list(rounds(Proposer(), NAMES, train, by_score, programs=4, n=2))
    assert [(best, worst) for _, best, worst in found] == [(1, 3), (1, 3)]
    assert heard[0] is None
    assert (heard[1].best, heard[1].worst) == ("reward = 1 * effort", "reward = 3 * effort")
    assert heard[1].traces["reward = 3 * effort"] == {"effort": [3]}
    heard.clear()
    list(rounds(Proposer(), NAMES, train, None, programs=4, n=2))
    assert heard == [None, None]


def test_the_command_trains_every_program_and_writes_what_came_of_it(tmp_path, capsys):
    out = tmp_path / "icpl"
    given = [o for o in [*COMMON, *SAC] if not o.startswith("steps")]
    own = ["steps=120", "rounds=1", "programs=2", f"out={out}"]
    assert main(["icpl", *given, *own]) == 0
    rows = list(csv.DictReader((out / "rounds.csv").open()))
    assert [row["chosen"] for row in rows] in (["best", "worst"], ["worst", "best"])
    for i, row in enumerate(rows, 1):
        summary = json.loads((out / "round_1" / f"program_{i}" / "summary.json").read_text())
        assert float(row["score"]) == pytest.approx(summary["final_return"], rel=1e-4)
    capsys.readouterr()
    for more, said in (
        ([f"out={out}"], "is not overwritten"),
        ([f"out={out}2", "choose=me"], "choose=me: valid are"),
        ([f"out={out}2", "proposer=me"], "proposer=me: valid are"),
        ([f"out={out}2", "proposer=endpoint"], "model=None"),
        ([f"out={out}2", "method=pebble"], "pbrl icpl chooses it"),
        ([], "out= is missing"),
    ):
        assert main(["icpl", "env=point_reach", *more]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "icpl2").exists()


class Hesitant(Person):
    """Skips each question at first."""

    skipped: ClassVar[set[int]] = set()

    def _answer(self, store, desk, card):
        query = card.query.id
        if query in self.skipped:
            super()._answer(store, desk, card)
            return
        self.skipped.add(query)
        shown = {"annotator": self.annotator, "shown_at": time.time(), "response_s": 0.5, "places": card.places}
        desk.answer(Given(id=f"skip-{query}", choice="skip", query=query, swapped=card.swapped, **shown))


def test_people_choose_the_best_and_the_worst_policy_in_the_viewer(tmp_path):
    out = tmp_path / "icpl"
    given = [o for o in [*COMMON, *SAC] if not o.startswith("steps")]
    own = ["steps=120", "rounds=2", "programs=3", f"out={out}", "choose=person", "viewer.start=false"]
    with Hesitant(out / "choices") as person:  # whose skips are no end of it: the command waits for an answer
        assert main(["icpl", *given, *own]) == 0
    rows = list(csv.DictReader((out / "rounds.csv").open()))
    assert len(person.given) == 2
    for number, (query, (best, worst)) in enumerate(sorted(person.given.items())):
        chosen = [row["chosen"] for row in rows[3 * number : 3 * number + 3]]
        assert (chosen.index("best"), chosen.index("worst")) == (best, worst), query
    with LabelStore(out / "choices", create=False) as store:
        assert {q.form.detail("wanted") for q in store.queries(kind=Choice)} == {"best_and_worst"}
    with PolicyJudges(out / "choices", seed=0) as judges:  # after a kill: nobody is asked again
        for number in (2, 1):
            runs = [out / f"round_{number}" / f"program_{i}" for i in (1, 2, 3)]
            assert judges(runs) == sorted(person.given.items())[number - 1][1]


def test_somebody_at_the_terminal_is_asked_again_until_they_name_two(monkeypatch, capsys):
    said = iter(["1 1", "4 1", "best", "3 1"])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    monkeypatch.setattr("pbrl.commands.icpl_command._clip", lambda run: run / "policy.mp4")
    trained = [Trained(None, 0.0, {}, f"runs/{i}") for i in range(3)]
    assert _ask(trained) == (2, 0)
    assert capsys.readouterr().out.count("policy.mp4") == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [(["programs=10"], "programs=10: the viewer shows 2 to 9"), (["viewer.width=33"], "viewer.width=33")],
)
def test_what_the_viewer_could_not_show_is_refused_before_a_training(tmp_path, capsys, more, said):
    assert main(["icpl", "env=point_reach", "choose=person", f"out={tmp_path / 'icpl'}", *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "icpl").exists()


def test_it_goes_on_where_it_was_stopped_with_what_was_proposed_and_chosen(tmp_path, monkeypatch, capsys):
    given = [o for o in [*COMMON, *SAC] if not o.startswith("steps")] + ["steps=120", "rounds=2", "programs=2"]
    given += ["choose=terminal"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    monkeypatch.setattr(icpl_command, "_clip", lambda run: run)
    monkeypatch.setattr("builtins.input", lambda _: "2 1")
    assert main(["icpl", *given, f"out={whole}"]) == 0

    trained, train = [], side_by_side.train

    def two_and_no_more(job):
        trained.append(job)
        return train(job) if len(trained) <= 3 else 1

    monkeypatch.setattr(side_by_side, "train", two_and_no_more)
    assert main(["icpl", *given, f"out={stopped}"]) == 2
    assert "the training in" in capsys.readouterr().err
    assert len((stopped / "rounds.csv").read_text().splitlines()) == 3  # the first round

    def nobody(_):
        raise AssertionError("what was chosen stands")

    monkeypatch.setattr(side_by_side, "train", lambda job: trained.append(job) or train(job))
    asked = []
    monkeypatch.setattr("builtins.input", lambda _: asked.append(1) or "2 1")
    assert main(["icpl", f"resume={stopped}"]) == 0
    assert (len(trained), len(asked)) == (5, 1)  # the fourth training again, and the second round's choice
    assert (stopped / "rounds.csv").read_text() == (whole / "rounds.csv").read_text()
    monkeypatch.setattr("builtins.input", nobody)
    assert main(["icpl", f"resume={stopped}"]) == 0  # there is nothing left to do
    assert len(trained) == 5
    kept = stopped / "round_1" / "round.json"
    said = kept.read_text()
    kept.write_text(json.dumps(json.loads(said) | {"programs": ["reward = effort", "reward = 2 * effort"]}))
    rows = (stopped / "rounds.csv").read_text()
    capsys.readouterr()
    assert main(["icpl", f"resume={stopped}"]) == 2  # the returns that stand are of other programs
    told = capsys.readouterr().err
    assert (told.count("\n"), "says 'reward = effort'" in told) == (1, True), told
    assert (len(trained), (stopped / "rounds.csv").read_text()) == (5, rows)
    shutil.rmtree(stopped / "round_1" / "program_1")  # as the line says
    shutil.rmtree(stopped / "round_1" / "program_2")
    assert main(["icpl", f"resume={stopped}"]) == 0
    assert len(trained) == 7
    kept.write_text(said)
    for more, said in (
        ([f"resume={stopped}", "rounds=3"], "settled by resume="),
        ([f"resume={tmp_path}"], "icpl.json"),
    ):
        assert main(["icpl", *more]) == 2
        assert said in capsys.readouterr().err


def test_a_signal_ends_the_round_and_a_line_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    jobs = []
    monkeypatch.setattr(side_by_side, "train", lambda job: jobs.append(job) or 130)
    assert main(["icpl", "env=point_reach", f"out={tmp_path / 'icpl'}", "programs=3"]) == 130
    assert len(jobs) == 1
    assert f"pbrl icpl resume={tmp_path / 'icpl'}" in capsys.readouterr().err


def test_a_process_whose_training_a_signal_ended_begins_no_other(monkeypatch):
    codes = iter([0, 2, 143, 0])
    monkeypatch.setattr(side_by_side, "train", lambda job: next(codes))
    monkeypatch.setattr(side_by_side, "_stopped", 0)
    assert [side_by_side.train_unless_stopped([]) for _ in range(5)] == [0, 2, 143, 143, 143]


@pytest.mark.parametrize(("content", "said"), [
    ('{"prog', "damaged"),
    ('{"best": 1}', "expected a list of texts"),
    ('{"programs": [1, 2]}', "expected a list of texts"),
    ('{"programs": ["effort", "distance"], "best": 0, "worst": 2}', "two different places from 0 to 1"),
])  # fmt: skip
def test_a_round_that_cannot_be_read_is_not_proposed_anew(tmp_path, monkeypatch, capsys, content, said):
    out = tmp_path / "icpl"
    monkeypatch.setattr(side_by_side, "train", lambda job: 130)
    main(["icpl", "env=point_reach", f"out={out}", "programs=2"])
    (out / "round_1" / "round.json").write_text(content)
    capsys.readouterr()
    assert main(["icpl", f"resume={out}"]) == 2
    assert said in capsys.readouterr().err
    assert (out / "round_1" / "round.json").read_text() == content


def test_a_language_model_is_not_asked_again_for_what_it_has_proposed(server, tmp_path):
    server.replies = ["reward = effort", "reward = distance"]
    endpoint = Endpoint("tiny", f"http://127.0.0.1:{server.server_port}/v1")
    for _ in range(2):  # before and after a stop
        proposer = KeptProposer(EndpointProposer(endpoint=endpoint, task="reach"), tmp_path)
        assert [p.text for p in proposer.propose(2, NAMES, None)] == ["reward = effort", "reward = distance"]
    assert len(server.asked) == 2
    kept = [KeptProposer(GrammarProposer(**GRAMMAR, rng=np.random.default_rng(0)), tmp_path / "g") for _ in range(2)]
    (tmp_path / "g").mkdir()
    first, again = ([[p.text for p in one.propose(2, NAMES, None)] for _ in range(2)] for one in kept)
    assert first == again
    third = [one.propose(2, NAMES, None)[0].text for one in kept[:1]]
    assert third != first[0][:1]


def test_what_is_trained_is_the_program_that_was_checked_and_comments_reach_no_config(tmp_path, monkeypatch):
    texts = ["near = -distance  # ${oc.env:MY_SECRET}\nreward = near  # it's \\ close\n", "(-distance\n  - effort)"]
    for text in texts:
        program, same = RewardProgram(text, NAMES), RewardProgram(RewardProgram(text, NAMES).one_line, NAMES)
        assert "\n" not in same.text
        assert same({"distance": 2, "effort": 3}) == program({"distance": 2, "effort": 3})
    monkeypatch.setenv("MY_SECRET", "do not tell")
    (tmp_path / "replies").write_text("\n".join(map(json.dumps, texts)))
    given = [o for o in [*COMMON, *SAC] if not o.startswith("steps")]
    own = ["steps=120", "rounds=1", "programs=2", "proposer=recorded", f"replies={tmp_path / 'replies'}"]
    assert main(["icpl", *given, *own, f"out={tmp_path / 'icpl'}"]) == 0
    config = (tmp_path / "icpl" / "round_1" / "program_1" / "config.yaml").read_text()
    assert "near = -distance; reward = near" in config
    assert "tell" not in config


def test_a_training_needs_a_program_of_its_factors(tmp_path, capsys):
    for program, said in (("null", "program=None"), ("speed", "reads 'speed'"), ("1 +", "cannot be read")):
        given = ["env=point_reach", "method=icpl", f"method.program='{program}'" if program != "null" else "seed=0"]
        assert main(["train", *given, f"run_dir={tmp_path / 'no'}"]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_choosing_the_best_and_the_worst_finds_more_than_choosing_at_random_or_not_at_all():
    chosen, at_random, independent = (
        np.mean([best_so_far(arm, np.random.default_rng(seed)) for seed in range(4)], 0)
        for arm in ("best and worst chosen", "best and worst at random", "independent proposals")
    )
    assert len(chosen) == ROUNDS
    assert chosen[0] == at_random[0] == independent[0]
    assert chosen[-1] > at_random[-1] + 20
    assert chosen[-1] > independent[-1] + 20
