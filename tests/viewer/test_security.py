"""What is refused, on every route: the matrix of host, origin, token, header and method."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import CHANGES, HOST, PORT, TOKEN, DrawnClips, fill, viewer
from starlette.testclient import TestClient

from pbrl.feedback.status import write_status
from pbrl.labels.questions import run_id
from pbrl.labels.store import LabelStore

ANSWER = {
    "id": "a-1",
    "query": 1,
    "repeat": None,
    "annotator": "ann",
    "choice": "left",
    "strength": "clear",
    "swapped": False,
    "shown_at": 1.0,
    "played_at": None,
    "response_ms": 900,
    "plays_left": 1,
    "plays_right": 1,
}
GETS = ["/api/status?annotator=ann", "/api/history?annotator=ann", "/api/learned", "/clips/" + "0" * 32 + ".mp4"]
POSTS = {
    "/api/next": {"annotator": "ann", "n": 1, "holding": []},
    "/api/answer": ANSWER,
    "/api/release": {"annotator": "ann", "holding": [1]},
    "/api/undo": {"id": "none", "annotator": "ann"},
    "/api/camera": {"query": 1, "camera": "side"},
    "/api/continue": {},
}
SESSION = {"/api/session": {"token": TOKEN}}
OPEN = ["/", "/static/app.js"]
ALL = [*((path, None) for path in [*GETS, *OPEN]), *{**POSTS, **SESSION}.items()]


ELSEWHERE = f"lab-machine.example:{PORT}"  # by which other machines know this one


@pytest.fixture(params=[HOST, ELSEWHERE])
def client(request, tmp_path):
    """Of a server on this machine alone, and of one that lets the network in, under a name that it does not know."""
    with LabelStore(tmp_path) as store:
        fill(store, 3)
        run = run_id(store.db)
    clips = DrawnClips(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / ("0" * 32 + ".mp4")).write_bytes(b"0123456789")
    app = viewer(tmp_path, clips, **({} if request.param == HOST else {"hosts": None}))
    with TestClient(app, base_url=f"http://{request.param}", raise_server_exceptions=True) as client:
        client.folder, client.run, client.host = tmp_path, run, request.param
        yield client


def enter(client):
    """Also has the training wait, so that it can be told to go on."""
    write_status(client.folder, "waiting")
    assert client.post("/api/session", json={"token": TOKEN}, headers=CHANGES).status_code == 204


def send(client, path, body, **headers):
    if body is None:
        return client.get(path, headers=headers)
    body = {"run": client.run, **body}
    return client.post(path, content=json.dumps(body), headers={**CHANGES, **headers})


def answers(client):
    with LabelStore(client.folder, create=False) as store:
        return len(store.standing_answers())


@pytest.mark.parametrize(("path", "body"), ALL)
def test_who_comes_in_properly_is_let_in(client, path, body):
    enter(client)
    assert send(client, path, body).status_code in (200, 204)


@pytest.mark.parametrize("client", [HOST], indirect=True)
@pytest.mark.parametrize(("path", "body"), ALL)
@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", "", f"{HOST}.evil.example"]
)
def test_another_host_is_refused_before_all_else(client, path, body, host):
    enter(client)
    assert send(client, path, body, host=host).status_code == 400
    assert answers(client) == 0


@pytest.mark.parametrize(("path", "body"), [*((path, None) for path in GETS), *POSTS.items()])
@pytest.mark.parametrize("cookie", [None, "", "wrong", TOKEN[:-1], TOKEN + "t"])
def test_without_the_token_nothing_is_told_or_taken(client, path, body, cookie):
    headers = {} if cookie is None else {"cookie": f"pbrl_{PORT}={cookie}"}
    assert send(client, path, body, **headers).status_code == 401
    assert answers(client) == 0


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], 5, ["t"], {"a": 1}, "ü", "\ud800"])
def test_a_wrong_token_gets_no_cookie(client, token):
    response = client.post("/api/session", content=json.dumps({"token": token}), headers=CHANGES)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(("path", "body"), [*POSTS.items(), *SESSION.items()])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"x-pbrl": "0"},
    ],
)
def test_a_change_from_elsewhere_is_refused(client, path, body, headers):
    enter(client)
    assert send(client, path, body, **headers).status_code == 403
    assert answers(client) == 0


@pytest.mark.parametrize(("path", "body"), [*POSTS.items(), *SESSION.items()])
def test_our_own_page_may_change_things(client, path, body):
    enter(client)
    own = {"origin": f"http://{client.host}", "sec-fetch-site": "same-origin"}
    assert send(client, path, body, **own).status_code in (200, 204)


@pytest.mark.parametrize("path", [*POSTS, *SESSION])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_changes_things(client, path, kind):
    enter(client)
    assert send(client, path, {}, **{"content-type": kind}).status_code == 415


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *itertools.product([*POSTS, *SESSION], ["GET", "PUT", "DELETE", "PATCH"]),
        *itertools.product([*GETS, *OPEN], ["POST", "PUT", "DELETE", "PATCH"]),
    ],
)
def test_other_methods_are_refused(client, path, method):
    enter(client)
    assert client.request(method, path, headers=CHANGES).status_code == 405


@pytest.mark.parametrize("path", [*POSTS, *SESSION])
def test_a_body_has_a_limit(client, path):
    enter(client)
    large = b'{"a": "' + b"x" * 70_000 + b'"}'
    assert client.post(path, content=large, headers=CHANGES).status_code == 413
    assert client.post(path, content=iter([large[:40_000], large[40_000:]]), headers=CHANGES).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/clips/../labels.sqlite",
        "/clips/%2e%2e%2flabels.sqlite.mp4",
        "/clips/..%2f..%2fetc%2fpasswd.mp4",
        "/clips/" + "g" * 32 + ".mp4",
        "/clips/" + "1" * 32 + ".mp4",
        "/static/../server.py",
        "/static/%2e%2e%2fserver.py",
        "/static/..%5cserver.py",
        "/static/none.js",
        "/static/" + "x" * 300 + ".js",
        "/static/",
        "/labels.sqlite",
        "/api/none",
    ],
)
def test_nothing_but_clips_and_the_page_is_served(client, path):
    enter(client)
    response = client.get(path)
    assert response.status_code == 404
    assert "sqlite" not in response.text.lower()


@pytest.mark.parametrize(("path", "body"), ALL)
def test_every_answer_carries_the_headers_that_keep_others_out(client, path, body):
    enter(client)
    for response in (send(client, path, body), send(client, path, body, host="evil.example")):
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(client):
    cookie = client.post("/api/session", json={"token": TOKEN}, headers=CHANGES).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_clip_is_served_in_parts(client):
    enter(client)
    part = client.get("/clips/" + "0" * 32 + ".mp4", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")


@pytest.mark.parametrize(("path", "body"), POSTS.items())
@pytest.mark.parametrize("run", ["0" * 32, "", None, 5])
def test_what_is_meant_for_another_run_is_refused(client, path, body, run):
    enter(client)
    assert send(client, path, {**body, "run": run}).status_code == 409
    assert answers(client) == 0


def test_a_training_that_does_not_wait_cannot_be_told_to_go_on(client):
    enter(client)
    write_status(client.folder, "training")
    assert send(client, "/api/continue", {}).status_code == 400


@pytest.mark.parametrize("text", ["", "{", "[]", '{"answers": 3}'])
def test_a_damaged_file_of_the_trainer_breaks_nothing(client, text):
    enter(client)
    for name in ("learned.json", "status.json"):
        (client.folder / name).write_text(text)
    assert send(client, "/api/learned", None).json() is None
    assert send(client, "/api/status?annotator=ann", None).status_code == 200


@pytest.mark.parametrize("n", ["0", "1001", "0000000019999", "x", "-1", "1.5", "٣"])
def test_history_has_a_limit(client, n):
    enter(client)
    assert client.get("/api/history", params={"annotator": "ann", "n": n}).status_code == 400


def test_no_true_reward_leaves_the_server(client):
    enter(client)
    for path, body in ALL:
        assert "777.25" not in send(client, path, body).text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
NEAR = st.fixed_dictionaries(
    {},
    optional={
        key: st.just(value) | JSON for key, value in {**ANSWER, "n": 2, "holding": [1], "camera": "side"}.items()
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from([*POSTS, *SESSION]), body=JSON | NEAR)
def test_whatever_is_sent_the_server_says_what_is_wrong_with_it(client, path, body):
    enter(client)
    if isinstance(body, dict):
        body = {"run": client.run, **body}
    response = client.post(path, content=json.dumps(body).encode("utf-8", "surrogatepass"), headers=CHANGES)
    assert response.status_code < 500
    if response.status_code >= 400:
        assert "\n" not in response.json()["error"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from([*POSTS, *SESSION]), body=st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused(client, path, body):
    enter(client)
    assert client.post(path, content=body, headers=CHANGES).status_code in (200, 204, 400, 401)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/api/status", "/api/history"]),
    query=st.dictionaries(st.sampled_from(["annotator", "n", "x"]), st.text(max_size=80), max_size=3),
)
def test_odd_query_strings_are_refused(client, path, query):
    enter(client)
    assert client.get(path, params={k: v.encode("utf-8", "replace") for k, v in query.items()}).status_code in (
        200,
        400,
    )
