"""The local server over HTTP: bad requests, limits, faults, its page; and what its command refuses."""

import json
import re
import runpy
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import served
import urllib3
from served import MAX_BYTES, MAX_ROWS, NAME, ask

from tf_seq2seq import cli
from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import OPTIONS
from tf_seq2seq.serving import server
from tf_seq2seq.serving.client import Client
from tf_seq2seq.serving.tensors import Spec

MODEL = f"/v1/models/{NAME}"
TEXTS = ["el gato duerme", "", "ñ"]


def predict(signature, inputs, place=None, **more):
    return ask(
        place or served.url(), f"{MODEL}:predict", {"signature_name": signature, "inputs": inputs}, **more
    )


def test_rows_and_columns_have_the_same_answer():
    rows = ask(served.url(), f"{MODEL}:predict", {"instances": TEXTS})
    columns = ask(served.url(), f"{MODEL}:predict", {"inputs": {"text": TEXTS}})
    named = ask(served.url(), f"{MODEL}/versions/1:predict", {"instances": [{"text": one} for one in TEXTS]})
    assert rows.code == columns.code == named.code == 200
    assert rows.told == named.told
    assert [one["text"] for one in rows.told["predictions"]] == columns.told["outputs"]["text"]
    assert columns.told["outputs"]["text"] == ["duerme gato el", "", "ñ"]
    assert rows.headers["content-type"] == "application/json"
    assert re.fullmatch(r"model;dur=\d+\.\d", rows.headers["server-timing"])


BAD = [
    ("malformed", b'{"inputs": ', 400, "JSON Parse error"),
    ("not JSON", b"\x00\xff" * 100, 400, "JSON Parse error"),
    ("empty", b"", 400, "JSON Parse error"),
    ("deep", b'{"inputs": ' + b"[" * 40_000, 400, "nested too deeply"),
    ("wrong type", {"inputs": {"text": 3}}, 400, "text: give a list"),
    ("number for text", {"instances": [3]}, 400, "text: give a string"),
    ("null", {"instances": [None]}, 400, "text: give a string"),
    ("unknown signature", {"signature_name": "nonsense", "inputs": ["a"]}, 400, '"nonsense" not found'),
    (
        "missing options",
        {"signature_name": "generate", "inputs": {"text": ["a"]}},
        400,
        "Missing named input",
    ),
    ("no input", {"signature_name": "generate"}, 400, "'inputs'"),
    ("rows of options", {"signature_name": "generate", "instances": [{"text": "a"}]}, 400, "row 0"),
    ("too many strings", {"instances": ["a"] * 4096}, 413, f"at most {MAX_ROWS} rows"),
    ("huge", b'{"instances": ["' + b"a" * MAX_BYTES + b'"]}', 413, f"at most {MAX_BYTES:,} bytes"),
]


@pytest.mark.parametrize("body, code, told", [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_requests_are_told_why(body, code, told):
    answer = ask(served.url(), f"{MODEL}:predict", body, method="POST")
    assert answer.code == code
    assert set(answer.told) == {"error"}
    assert told in answer.told["error"]
    assert "Traceback" not in answer.told["error"] and len(answer.told["error"]) < 300


@pytest.mark.parametrize(
    "method, path, code",
    [
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("GET", "/v1/models/other", 404),
        ("GET", f"{MODEL}/versions/9", 404),
        ("PUT", f"{MODEL}:predict", 400),
        ("GET", f"{MODEL}:predict", 400),
        ("DELETE", MODEL, 400),
        ("GET", "/v1", 404),
        ("GET", "/v1/models/" + "a" * 2000, 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
    ],
)
def test_wrong_paths_and_methods(method, path, code):
    answer = urllib3.request(method, served.url() + path, retries=False)
    assert answer.status == code
    assert len(answer.data) < 3000
    assert set(json.loads(answer.data)) == {"error"}


def test_what_is_no_http_does_not_stop_the_server():
    host, port = served.url().removeprefix("http://").split(":")
    for sent in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"A" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b" 200 " not in connection.recv(1000)
    assert ask(served.url(), MODEL).code == 200


def test_the_load_script_finds_a_wrong_answer():
    load = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "benchmarks" / "serve_load.py"))
    asked = [load["Question"]([text], {"n_best": 2}) for text in TEXTS[:2]]
    with Client(served.url(), NAME) as client:
        answers = [question.ask(client) for question in asked]
    for kept, wrong in ((answers, False), (answers[::-1], True)):
        seen, took = load["loaded"](served.url(), NAME, asked, kept, clients=3, seconds=0.5)
        told = load["summary"](seen, [0.1], took, 3)
        assert told["errors"] == 0
        assert told["requests"] >= 3
        assert told["wrong"] == (told["requests"] if wrong else 0)


class Slow:
    """A model whose answers wait until they may come; one input makes it fail."""

    version = 1
    inputs = {"serving_default": {"text": Spec(np.dtype(object), (None,))}}

    def __init__(self):
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, signature, inputs):
        if inputs["text"][0] == b"fail":
            raise RuntimeError("a secret of the server")
        if inputs["text"][0] == b"full":
            raise MemoryError
        self.entered.release()
        self.go.wait(20)
        return {"text": inputs["text"]}


def test_more_than_may_wait_are_told_to_come_back():
    slow = Slow()
    place = served.serve(slow, threads=1, queue=2)
    with ThreadPoolExecutor(3) as pool:
        under_way = [pool.submit(predict, "serving_default", [str(number)], place) for number in range(3)]
        assert slow.entered.acquire(timeout=10)
        time.sleep(0.5)  # the other two are in the queue by then
        answer = predict("serving_default", ["more"], place)
        assert answer.code == 503
        assert answer.headers["retry-after"] == "1"
        slow.go.set()
        assert sorted(one.result().told["outputs"][0] for one in under_way) == ["0", "1", "2"]
    assert predict("serving_default", ["now"], place).told == {"outputs": ["now"]}


def test_a_fault_of_the_server_is_its_own_affair(capfd, caplog):
    place = served.serve(Slow())
    answer = predict("serving_default", ["fail"], place)
    assert answer.code == 500
    assert "secret" not in answer.told["error"]
    assert "a secret of the server" in caplog.text
    assert predict("serving_default", ["full"], place).code == 429


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.2)
    host, port = served.url().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST {MODEL}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        assert b" 408 " in connection.recv(1000)


def test_the_page_has_the_model_and_needs_nothing_else():
    answer = urllib3.request("GET", served.url())
    page = answer.data.decode()
    assert answer.status == 200 and NAME in page
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"https?://|(?:src|href)=[\"'](?!data:)", page)
    told = json.loads(re.search(r"const model = (\{.*\});", page)[1])
    assert [option["name"] for option in told["options"]] == [*OPTIONS]


def test_a_name_cannot_break_out_of_the_page():
    page = server.page_of("</script><b>", 1, ["serving_default"])
    assert page.count("</script>") == 1


def test_a_taken_port_is_told():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match="give another --host"),
    ):
        server.bound("127.0.0.1", taken.getsockname()[1])
    for host, port in (("no-such-host.invalid", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(InputError, match="cannot listen"):
            server.bound(host, port)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--model", "{tmp}"], "holds no SavedModel"),
        (["--model", "{tmp}/nothing"], "holds no SavedModel"),
        (["--model", "{tmp}/broken"], "is damaged"),
        (["--model", "{tmp}", "--name", "a/b"], "--name has no /"),
    ],
)
def test_the_command_tells_what_it_cannot_use(tmp_path, capsys, arguments, told):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"\x08nonsense")
    code = cli.main(["serve", "--port", "0", *(one.format(tmp=tmp_path) for one in arguments)])
    assert code == cli.FAULT
    assert told in capsys.readouterr().err


def test_the_command_names_the_extra_that_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "tf_seq2seq.serving.server")
    monkeypatch.delattr("tf_seq2seq.serving.server")
    assert cli.main(["serve", "--model", "x"]) == cli.FAULT
    assert "serve needs uvicorn: pip install 'tf_seq2seq[serve]'" in capsys.readouterr().err
