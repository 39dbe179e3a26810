"""`tf-seq2seq serve`: an exported model behind TF Serving's REST API, and a page."""

import os

from tf_seq2seq.commands.option_types import count, positive
from tf_seq2seq.commands.quiet import quiet_import
from tf_seq2seq.errors import InputError

HELP = "try an exported model out in the browser or over HTTP"
USAGE = "tf-seq2seq serve --model FOLDER [option ...]"
DESCRIPTION = """\
A small local server for a SavedModel that tf-seq2seq export wrote. It speaks
TF Serving's REST API and has a page at / with the best targets and where the
model looked. For trying things out: in production, give the same folder to TF
Serving. Whoever reaches the port may ask; by default that is this machine.
"""
EPILOG = """\
example:
  tf-seq2seq serve --model saved_models/es_en
  curl -d '{"instances": ["Hola."]}' localhost:8501/v1/models/es_en:predict
"""


def add_options(parser):
    """Adds this command's options to its parser."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="FOLDER",
        help="exported folder: its highest version is served; or the folder of one version",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="what paths call the model (default: its folder's name)"
    )
    group = parser.add_argument_group("network")
    group.add_argument("--host", default="127.0.0.1", help="address to listen at (default %(default)s)")
    group.add_argument(
        "--port", type=count, default=8501, help="port to listen at; 0 is any free one (default %(default)s)"
    )
    _add_limits(parser.add_argument_group("limits"))


def _add_limits(group):
    group.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        default=os.cpu_count() or 1,
        help="requests that are computed at once (default: the machine's cores, %(default)s)",
    )
    group.add_argument(
        "--queue",
        type=positive,
        metavar="N",
        default=64,
        help="requests that may wait; more are answered by 503 (default %(default)s)",
    )
    group.add_argument(
        "--max-rows", type=positive, metavar="N", default=256, help="texts in a request (default %(default)s)"
    )
    group.add_argument(
        "--max-megabytes",
        type=positive,
        metavar="N",
        default=8,
        help="size of a request (default %(default)s)",
    )


def run(options):
    """Serves until Ctrl-C."""
    if "/" in (options.name or "") or ":" in (options.name or ""):
        raise InputError("--name has no / and no :, as it stands in paths")
    try:
        from tf_seq2seq.serving import server
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}: pip install 'tf_seq2seq[serve]'") from None
    with server.bound(options.host, options.port) as listening:
        _serve(server, listening, options)
    print("stopped")


def _serve(server, listening, options):
    with quiet_import():
        from tf_seq2seq.serving.exported_model import ExportedModel
        from tf_seq2seq.serving.rest_api import RestApi
    print(f"loading {options.model} ...", flush=True)
    model = ExportedModel(options.model)
    _warm(model)
    name = options.name or model.name
    page = server.page_of(name, model.version, model.inputs, _own_options(model.folder))
    api = RestApi(model, name, options.max_rows)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"{name}, version {model.version}: {url}/v1/models/{name} and, in the browser, {url}/", flush=True)
    print("Ctrl-C stops it", flush=True)
    server.Server(api, options.threads, options.queue, options.max_megabytes * 10**6, page).run(listening)


def _own_options(folder):
    """How the generator searched that was exported; {} if that is not known or cannot be said."""
    from tf_seq2seq.export import description

    try:
        return description.read(folder).options or {}
    except InputError:
        return {}


def _warm(model):
    """Asks once: a signature's first answer takes seconds, and nobody waits for it yet."""
    from tf_seq2seq.serving.inputs import generated_in_batches, strings

    if set(model.inputs.get("serving_default", ())) == {"text"}:
        model("serving_default", {"text": strings("texts", [""])})
    if "generate" in model.inputs:
        generated_in_batches(model, [""], {}, 1)
