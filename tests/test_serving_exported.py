"""A real export behind `tf-seq2seq serve`: the generator's answers, options, many clients at once, the page in a browser."""

import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from served import ask
from tiny_generator import LENGTH, SEARCH, SOURCES, TARGETS, tiny_generator

from tf_seq2seq.export.description import options_of
from tf_seq2seq.export.options import DEFAULTS
from tf_seq2seq.serving import errors
from tf_seq2seq.serving.client import Client

NAME = "tiny_export"
OWN = options_of(SEARCH)
TEXTS = [*SOURCES, "", "un ñandú 🙂", "\x00 gato", "el " * 60]


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def url(tiny_export):
    """Where the command serves the export; in the end it is interrupted and says nothing but that it stopped."""
    path = tiny_export.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "tf_seq2seq", "serve", "--model", path, "--port", "0", "--max-rows", "64"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = next((line for line in process.stdout if "http://" in line), "")
        assert address, process.stderr.read()
        yield re.search(r"http://[\d.:]+", address)[0]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "stopped"
    assert err == ""


@pytest.fixture(scope="module")
def client(url):
    with Client(url, NAME, retries=0) as client:
        yield client


def test_answers_are_those_of_the_generator(client, generator):
    found = client.generate(TEXTS, **OWN)
    expected = generator(TEXTS).sentences()
    assert [one.text[0] for one in found] == [one.text[0] for one in expected]
    assert [one.truncated for one in found] == [False] * (len(TEXTS) - 1) + [True]
    for one, other in zip(found, expected):
        assert one.tokens[0] == other.tokens[0]
        assert one.source_tokens == other.source_tokens
        assert one.finished[0] == other.finished[0]
        np.testing.assert_allclose(one.log_probs[0], other.log_probs[0], rtol=1e-4)
        np.testing.assert_allclose(one.token_log_probs[0], other.token_log_probs[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.alignments[0], other.alignments[0], atol=1e-4)


def test_batches_change_nothing(client, url):
    options = {"beam_size": 3, "n_best": 2, "max_length": 7}
    options["prefix"] = ["", "the", "a", "", "the", "", "", "the", "a"]
    options["banned"] = [[], ["cat", "the dog"], [], [], ["the"], [], [], [], []]
    whole = client.generate(TEXTS, **options)
    parts = Client(url, NAME, batch_size=2).generate(TEXTS, **options)
    assert [one.text for one in parts] == [one.text for one in whole]
    assert [one.tokens for one in parts] == [one.tokens for one in whole]
    assert all(one.text[0].startswith(begin) for one, begin in zip(whole, options["prefix"]) if one.text[0])
    assert "cat" not in " ".join(whole[1].text)


def test_scores_are_those_of_the_generator(client, generator):
    found = client.score(SOURCES, TARGETS)
    expected = generator.score(SOURCES, TARGETS)
    np.testing.assert_allclose([one.log_prob for one in found], expected.log_probs, rtol=1e-4)
    for one in found:
        assert one.log_prob == pytest.approx(sum(one.token_log_probs), rel=1e-4)
        assert len(one.tokens) == len(one.token_log_probs)
        assert one.tokens[-1] == "</s>"


def test_a_step_driven_by_the_client_agrees_with_the_score(client, generator):
    """encode, then step: the log-prob of a target's first token is the one that `score` gives."""
    encoded = client.predict("encode", {"text": np.array([SOURCES[0].encode()], object)})
    carried = {name: value for name, value in encoded.items() if name.startswith(("memory", "state"))}
    found = client.predict("step", {"ids": encoded["start_ids"]} | carried)
    [scored] = client.score([SOURCES[0]], [TARGETS[0]])
    first = int(generator.target_text.ids([TARGETS[0]])[0, 0])
    assert found["log_probs"][0, first] == pytest.approx(scored.token_log_probs[0], rel=1e-3)


OUT_OF_RANGE = [
    ("beam_size", 0),
    ("beam_size", 9),
    ("beam_size", -(2**31)),
    ("n_best", 5),
    ("top_p", 2.0),
    ("temperature", 0.0),
    ("alpha", float("nan")),
    ("coverage_beta", float("inf")),
    ("length_penalty", "nonsense"),
    ("stop", ""),
    ("max_length", 100_000),
    ("samples", -1),
]


@pytest.mark.parametrize("name, value", OUT_OF_RANGE, ids=str)
def test_options_out_of_range_come_back_with_the_graphs_message(client, name, value):
    assert name in DEFAULTS
    with pytest.raises(errors.BadRequest) as caught:
        client.generate(["a"], **{name: value})
    told = str(caught.value)
    assert name in told
    assert "node" not in told and "\n" not in told and len(told) < 200


def test_options_of_other_numbers_of_texts_are_refused(client):
    """What the client would not send: another program might."""
    sent = {}
    keeping = lambda signature, inputs: sent.update(inputs) or {"text": []}
    client_like = Client(client.url, NAME)
    client_like.predict = keeping
    client_like.generate(["a", "b"])
    for name in ("prefix", "banned", "phrases", "seeds"):
        with pytest.raises(errors.BadRequest, match=name):
            client.predict("generate", sent | {name: sent[name][:1]})


def test_too_many_texts_are_refused_and_none_are_fine(url):
    answer = ask(url, f"/v1/models/{NAME}:predict", {"instances": ["a"] * 4096})
    assert answer.code == 413
    answer = ask(url, f"/v1/models/{NAME}:predict", {"inputs": {"text": []}})
    assert answer.told["outputs"]["text"] == []


def test_many_clients_get_what_each_would_alone(client):
    asked = [
        {"texts": SOURCES[:2], "beam_size": 1},
        {"texts": SOURCES[2:], "beam_size": 4, "n_best": 3},
        {"texts": SOURCES[:1], "samples": 2, "n_best": 2, "seeds": [5]},
        {"texts": ["", "gato " * 30]},
    ]
    generate = lambda one: client.generate(**({"max_length": LENGTH} | one))
    alone = [[found.text for found in generate(one)] for one in asked]
    with ThreadPoolExecutor(8) as pool:
        together = [*pool.map(generate, asked * 8)]
    assert [[found.text for found in one] for one in together] == alone * 8


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_answers_in_a_browser(client, url, tmp_path):
    """The link's text is asked for, by the generator's own search: best targets, a cell for each pair of tokens."""
    text = SOURCES[0]
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", f"{url}/#{text}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    [found] = client.generate([text], **OWN | {"n_best": 3})
    assert re.findall(r'<b dir="auto">(.*?)</b>', dom) == [one or "(nothing)" for one in found.text]
    pairs = re.findall(r'<td title="(.*?) looks at (.*?): (\d+)%"', dom)
    assert len(pairs) == len(found.tokens[0]) * len(found.source_tokens)
    weights = np.array([int(percent) for _, _, percent in pairs]).reshape(found.alignments[0].shape)
    np.testing.assert_allclose(weights, 100 * found.alignments[0], atol=0.51)
