"""The REST client: answers as the generator's, batches, retries, time-outs, kinds of errors; no TensorFlow."""

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import served

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving import errors, retrying
from tf_seq2seq.serving.client import Client

TEXTS = ["el gato duerme", "la casa", "", "un ñandú 🙂", "\x00 gato", "¿qué?", "  ", "el " * 60]


class Scripted:
    """A server that gives the answers of a list, one a request, the last one for ever; it keeps what it was asked.

    An answer is a pair of a code and a body, None to break the connection, or a number of seconds to be silent.
    """

    def __init__(self, *answers):
        self.answers, self.asked = [*answers], []
        self.wake = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                scripted.asked.append((self.command, self.path, json.loads(body or "null")))
                answer = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
                if isinstance(answer, (int, float)):
                    scripted.wake.wait(answer)
                if not isinstance(answer, tuple):
                    self.connection.close()
                    return
                code, content = answer
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer

            def log_message(self, *_):
                pass

            def finish(self):
                if not self.wfile.closed and self.connection.fileno() >= 0:
                    super().finish()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def scripted():
    made = []

    def make(*answers):
        made.append(Scripted(*answers))
        return made[-1]

    yield make
    for one in made:
        one.wake.set()
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that retries waited for; they do not really wait."""
    waited = []
    monkeypatch.setattr(retrying.time, "sleep", waited.append)
    return waited


@pytest.fixture(scope="module")
def client():
    with Client(served.url(), served.NAME) as client:
        yield client


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_answers_have_what_the_model_said_of_each_text(client):
    for text, found in zip(TEXTS, client.generate(TEXTS, n_best=3), strict=True):
        tokens = [served.target_tokens(text, place) for place in range(3)]
        sources = served.source_tokens(text)
        assert found.tokens == tokens
        assert found.text == [" ".join(said[:-1]) for said in tokens]
        assert found.source_tokens == sources
        assert found.truncated == (text == TEXTS[-1])
        assert found.finished == [True, False, True]
        assert [one.shape for one in found.alignments] == [(len(said), len(sources)) for said in tokens]
        assert all(one.dtype == np.float32 for one in found.alignments)
        for place, numbers in enumerate(found.token_log_probs):
            np.testing.assert_allclose(numbers, served.log_probs(text, place), rtol=1e-6)
            assert found.log_probs[place] == pytest.approx(sum(numbers), rel=1e-5)
            assert found.scores[place] == pytest.approx(sum(numbers) / 2, rel=1e-5)
            np.testing.assert_allclose(found.alignments[place].sum(axis=1), 1, rtol=1e-5)


def test_batches_keep_the_order_and_each_texts_options():
    prefix = ["a", "", "b", "c", "", "", "d", "e", "f"][: len(TEXTS)]
    model = served.Model()
    client = Client(served.serve(model), served.NAME, batch_size=3)
    found = client.generate(iter(TEXTS), prefix=prefix)
    assert model.sizes == [3, 3, 2]
    assert [one.tokens[0] for one in found] == [
        served.target_tokens(*one) for one in zip(TEXTS, [0] * 9, prefix)
    ]
    scored = client.score(TEXTS, reversed(TEXTS))
    assert [one.tokens for one in scored] == [[*text.split(), "</s>"] for text in reversed(TEXTS)]


def test_scores_are_cut_to_the_length_of_each_target(client):
    first, second = client.score(["a", "bb"], ["one two three", ""])
    assert (first.tokens, second.tokens) == (["one", "two", "three", "</s>"], ["</s>"])
    assert (first.token_log_probs, second.token_log_probs) == ([-0.5] * 4, [-1.0])
    assert (first.log_prob, second.log_prob) == (-2.0, -1.0)
    assert not first.truncated


def test_nothing_asked_is_nothing_answered(scripted):
    server = scripted((500, {}))
    assert Client(server.url, "m").generate([]) == []
    assert Client(server.url, "m").score([], []) == []
    assert server.asked == []


def test_status_and_metadata(client):
    [status] = client.status()
    assert (status.version, status.state, status.message) == (1, "AVAILABLE", "")
    metadata = client.metadata()
    assert (metadata.name, metadata.version) == (served.NAME, 1)
    assert metadata.signatures["serving_default"].inputs == {"text": ("string", [None])}
    assert metadata.signatures["serving_default"].outputs["score"] == ("float32", [None])
    assert metadata.signatures["generate"].inputs["beam_size"] == ("int32", [])
    assert metadata.signatures["generate"].inputs["banned"] == ("string", [None, None])


def test_a_version_is_asked_for(client):
    assert Client(served.url(), served.NAME, version=1).status() == client.status()
    with pytest.raises(errors.NotFound, match="version 2"):
        Client(served.url(), served.NAME, version=2).generate(["a"])
    with pytest.raises(errors.NotFound, match="other"):
        Client(served.url(), "other").status()


def test_the_servers_message_arrives(client):
    with pytest.raises(errors.BadRequest, match=r"^beam_size is at least 1, at most 8; 1000 came$"):
        client.generate(["a"], beam_size=1000)
    with pytest.raises(errors.BadRequest, match="not found"):
        client.predict("nonsense", {"text": np.array([b"a"], object)})


@pytest.mark.parametrize(
    "options, told",
    [
        ({"beam": 3}, "beam_size"),
        ({"beam_size": "many"}, "beam_size"),
        ({"beam_size": 1.5}, "beam_size"),
        ({"beam_size": 2**40}, "out of range"),
        ({"alpha": "much"}, "alpha"),
        ({"stop": 3}, "stop"),
        ({"prefix": "the"}, "a list with one for each text"),
        ({"prefix": ["the"]}, "prefix has 1 for 2 texts"),
        ({"prefix": ["the", 1]}, "prefix"),
        ({"banned": ["the", "a"]}, "banned"),
        ({"banned": [["the"]]}, "banned has 1 for 2"),
        ({"seeds": 1}, "a list with one for each text"),
        ({"seeds": [1, 2, 3]}, "seeds has 3"),
        ({"prefix": ["\ud800", ""]}, "surrogate"),
    ],
    ids=str,
)
def test_wrong_options_are_told_before_anything_is_sent(options, told):
    nowhere = Client("http://127.0.0.1:9", "m", retries=0)
    with pytest.raises(InputError, match=told):
        nowhere.generate(["a", "b"], **options)


def test_wrong_texts_and_settings_are_told():
    nowhere = Client("http://127.0.0.1:9", "m", retries=0)
    for texts, told in (
        ("one", "put it into a list"),
        ([1], "a str was expected"),
        (["\ud800"], "surrogate"),
    ):
        with pytest.raises(InputError, match=told):
            nowhere.generate(texts)
    with pytest.raises(InputError, match="2 sources have 1 targets"):
        nowhere.score(["a", "b"], ["c"])
    for url in ("localhost:8501", "ftp://localhost", "", "http://"):
        with pytest.raises(InputError, match="url is such as"):
            Client(url, "m")
    for wrong in ({"batch_size": 0}, {"retries": -1}):
        with pytest.raises(InputError, match="at least"):
            Client("http://localhost", "m", **wrong)


def test_bytes_and_surrogates_are_sent_as_they_are(scripted):
    server = scripted((200, {"outputs": {"text": ["a", "b", "c"]}}))
    texts = np.array([b"\xff", "ñ".encode(), b"\x00"], object)
    Client(server.url, "m", version=4).predict("serving_default", {"text": texts})
    method, path, asked = server.asked[0]
    assert (method, path) == ("POST", "/v1/models/m/versions/4:predict")
    assert asked == {"signature_name": "serving_default", "inputs": {"text": [{"b64": "/w=="}, "ñ", "\x00"]}}


def test_answers_that_are_not_utf8_or_base64_or_not_finite_are_read(scripted):
    body = b'{"outputs": {"text": ["\xc3", {"b64": "w7E="}], "score": [-Infinity, 1.0]}}'
    found = Client(scripted((200, body)).url, "m").predict("s", {})
    assert found["text"].tolist() == ["\ufffd", "ñ"]
    assert found["score"].tolist() == [-np.inf, 1.0]


def test_a_signatures_only_output_gets_its_name(scripted):
    shape = {"dim": [{"size": "-1"}], "unknown_rank": False}
    info = {"text": {"dtype": "DT_STRING", "tensor_shape": shape}}
    told = {"signature_def": {"signature_def": {"s": {"inputs": info, "outputs": info}}}}
    metadata = {"model_spec": {"name": "m", "version": "1"}, "metadata": told}
    server = scripted((200, {"outputs": ["a"]}), (200, metadata))
    assert Client(server.url, "m").predict("s", {})["text"].tolist() == ["a"]


def test_what_may_go_well_the_next_time_is_tried_again(scripted, waits):
    fine = (200, {"model_version_status": []})
    server = scripted((503, {"error": "busy"}), None, (429, b"slow down"), fine)
    assert Client(server.url, "m", retries=3).status() == []
    assert len(server.asked) == 4
    assert [wait / longest for wait, longest in zip(waits, (0.2, 0.4, 0.8))] == pytest.approx(
        [0.75] * 3, abs=0.25
    )


@pytest.mark.parametrize(
    "answer, kind, told",
    [
        ((503, {"error": "too much"}), errors.Busy, "too much"),
        (None, errors.Unreachable, "127.0.0.1"),
        ((502, b"<html>"), errors.Busy, "HTTP 502"),
    ],
)
def test_retries_end(scripted, waits, answer, kind, told):
    server = scripted(answer)
    with pytest.raises(kind, match=told):
        Client(server.url, "m", retries=2).generate(["a"])
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "answer, kind, told",
    [
        ((400, {"error": "beam_size is 1 to 8"}), errors.BadRequest, "^beam_size is 1 to 8$"),
        ((413, {"error": "too long"}), errors.BadRequest, "too long"),
        ((404, b"nginx"), errors.NotFound, "nginx"),
        ((500, {"error": "broken"}), errors.ServerError, "broken"),
        ((500, b"x" * 10_000), errors.ServerError, "HTTP 500"),
        ((301, b""), errors.ServerError, "HTTP 301"),
        ((200, b"<html>"), errors.ServerError, "<html>"),
        ((200, b"[1]"), errors.ServerError, "HTTP 200"),
        ((200, {"predictions": [1]}), errors.ServerError, "no 'outputs'"),
        ((504, b""), errors.Timeout, "HTTP 504"),
    ],
)
def test_what_cannot_go_well_is_not_tried_again(scripted, waits, answer, kind, told):
    server = scripted(answer)
    with pytest.raises(kind, match=told) as caught:
        Client(server.url, "m").generate(["a"])
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 400
    assert len(server.asked) == 1


def test_nobody_there_is_unreachable(waits):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.Unreachable, match="refused"):
        Client(url, "m", retries=2).status()
    assert len(waits) == 2
    with pytest.raises(errors.Unreachable):
        Client("http://no-such-host.invalid", "m", retries=0).status()


def test_a_silent_server_is_a_timeout(scripted, waits):
    server = scripted(20)
    with pytest.raises(errors.Timeout, match=r"within 0.2 seconds"):
        Client(server.url, "m", timeout=0.2).generate(["a"])
    assert len(server.asked) == 1
    assert waits == []


def test_every_kind_of_error_is_a_serving_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) == 7
    assert all(issubclass(kind, errors.ServingError) for kind in kinds)


def test_the_client_needs_no_tensorflow():
    program = (
        "import sys\nfrom tf_seq2seq.serving.client import Client\n"
        f"client = Client({served.url()!r}, {served.NAME!r})\n"
        "print(client.generate(['uno dos'])[0].text[0])\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('tensorflow', 'keras', 'grpc')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["dos uno", "[]"]
