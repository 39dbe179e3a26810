"""Sixteen clients at once against `tf-seq2seq serve`: does every answer stay what it was alone, and how fast?

    python experiments/benchmarks/serve_load.py --model saved_models/es_en [--seconds 120] [--json FILE]

Starts the server on a free port of this machine, asks every question of a list once, one by one, and keeps the
answers. Then clients in threads of their own ask questions of that list in an order of their own until the time is
over. Any answer that is not the one kept counts as wrong: texts are to be equal, scores within 1e-4. README.md
beside this file tells what the numbers mean.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tf_seq2seq.files import replacing
from tf_seq2seq.serving.client import Client
from tf_seq2seq.serving.errors import ServingError

SENTENCES = [
    "Hola.",
    "¿Dónde está la estación?",
    "Me gusta el café.",
    "Mi hermano vive en una casa grande.",
    "No sé qué decir.",
    "Mañana vamos a la playa con los niños.",
    "El gato negro duerme.",
    "¿Quieres comer algo?",
]
OPTIONS = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 2},
    {"beam_size": 8},
    {"samples": 2, "n_best": 2, "temperature": 0.8, "seed": 7},
]
MOST_CLIENTS, MOST_SECONDS = 64, 3600
STARTING = 120  # seconds that the server may take to load the model
TOLERANCE = 1e-4  # of scores, absolute and relative


class Question(NamedTuple):
    texts: list
    options: dict

    def ask(self, client):
        options = {name: value for name, value in self.options.items() if name != "seed"}
        if "seed" in self.options:
            options["seeds"] = [self.options["seed"]] * len(self.texts)
        return [(one.text, one.scores) for one in client.generate(self.texts, **options)]


class Asked(NamedTuple):
    """What a client saw: seconds of each answer, and what went wrong."""

    seconds: list
    wrong: list
    errors: list


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", required=True, metavar="FOLDER", help="what tf-seq2seq export wrote")
    parser.add_argument("--seconds", type=float, default=120, help="of asking (default %(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="at once (default %(default)s)")
    parser.add_argument(
        "--sentences", type=Path, metavar="FILE", help="sources, one a line, instead of eight"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of the server (its own default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result")
    options = parser.parse_args(argv)
    if not (0 < options.seconds <= MOST_SECONDS and 0 < options.clients <= MOST_CLIENTS):
        parser.error(f"at most {MOST_SECONDS} seconds and {MOST_CLIENTS} clients, at least one of each")
    return options


def questions(sentences):
    """Single sentences and threes of them, each with one of the ways to search."""
    threes = [sentences[start : start + 3] for start in range(0, len(sentences), 3)]
    texts = [*([one] for one in sentences), *threes]
    return [Question(one, options) for one, options in zip(texts, itertools.cycle(OPTIONS))]


def started(model, threads):
    """The server's process, its URL and the model's name."""
    command = [sys.executable, "-m", "tf_seq2seq", "serve", "--model", model, "--port", "0"]
    command += ["--threads", str(threads)] if threads else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    alarm = threading.Timer(STARTING, process.kill)
    alarm.start()
    line = next((line for line in process.stdout if "http://" in line), "")
    alarm.cancel()
    if not line:
        raise SystemExit("the server did not start; what it said is above")
    address = next(word for word in line.split() if word.startswith("http://"))
    url, _, name = address.partition("/v1/models/")
    return process, url, name


def client_of(url, name):
    return Client(url, name, timeout=120, retries=0)


def same(found, expected):
    """Whether texts are equal and scores as good as equal."""
    if [text for text, _ in found] != [text for text, _ in expected]:
        return False
    scores = [pair for (_, one), (_, other) in zip(found, expected) for pair in zip(one, other, strict=True)]
    return all(abs(one - other) <= TOLERANCE * (1 + abs(other)) or one == other for one, other in scores)


def asking(url, name, asked, answers, until, seed):
    """One client: asks in its own order until the time is over."""
    seen, draw = Asked([], [], []), random.Random(seed)
    with client_of(url, name) as client:
        while time.monotonic() < until:
            number = draw.randrange(len(asked))
            begin = time.perf_counter()
            try:
                found = asked[number].ask(client)
            except ServingError as error:
                seen.errors.append(f"{type(error).__name__}: {error}")
                if len(seen.errors) >= 10:
                    break
                continue
            seen.seconds.append(time.perf_counter() - begin)
            if not same(found, answers[number]):
                seen.wrong.append([asked[number], found, answers[number]])
    return seen


def loaded(url, name, asked, answers, clients, seconds):
    """What all clients saw, one `Asked` each, and how long it took."""
    begin = time.monotonic()
    seen = [None] * clients

    def one(place):
        seen[place] = asking(url, name, asked, answers, begin + seconds, seed=place)

    threads = [threading.Thread(target=one, args=[place]) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if None in seen:
        raise SystemExit("a client broke; its traceback is above")
    return seen, time.monotonic() - begin


def quantile(seconds, share):
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def summary(seen, alone, took, clients):
    seconds = [one for client in seen for one in client.seconds]
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "requests": len(seconds),
        "requests_per_second": round(len(seconds) / took, 2),
        "p50_ms": round(1e3 * quantile(seconds, 0.5), 1),
        "p95_ms": round(1e3 * quantile(seconds, 0.95), 1),
        "alone_p50_ms": round(1e3 * quantile(alone, 0.5), 1),
        "wrong": sum(len(client.wrong) for client in seen),
        "errors": sum(len(client.errors) for client in seen),
    }


def measured(url, name, options):
    """The summary, and the first wrong answers and errors."""
    sentences = options.sentences.read_text(encoding="utf-8").split("\n") if options.sentences else SENTENCES
    asked = questions([one for one in sentences if one.strip()])
    with client_of(url, name) as client:
        for question in asked[: len(OPTIONS)]:  # first calls of a signature take longer
            question.ask(client)
        answers, alone = [], []
        for question in asked:
            begin = time.perf_counter()
            answers.append(question.ask(client))
            alone.append(time.perf_counter() - begin)
    seen, took = loaded(url, name, asked, answers, options.clients, options.seconds)
    faults = [fault for client in seen for fault in [*client.wrong, *client.errors]]
    return summary(seen, alone, took, options.clients), faults[:5]


def main(argv=None):
    options = arguments(argv)
    process, url, name = started(options.model, options.threads)
    try:
        result, faults = measured(url, name, options)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            code = "killed"
    result["server_exit"] = code
    print(
        f"{result['requests']:,} answers to {result['clients']} clients in {result['seconds']} s: "
        f"{result['requests_per_second']} a second, p50 {result['p50_ms']} ms, p95 {result['p95_ms']} ms "
        f"(alone {result['alone_p50_ms']} ms); {result['wrong']} wrong, {result['errors']} errors"
    )
    for fault in faults:
        print(fault)
    if options.json:
        with replacing(options.json) as new:
            Path(new).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(result["wrong"] or result["errors"] or code or not result["requests"]))


if __name__ == "__main__":
    sys.exit(main())
