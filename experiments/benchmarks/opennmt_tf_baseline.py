"""OpenNMT-tf as a peer of `decode_speed.py`: its own virtual environment, its training, its exported models.

It stops at TensorFlow 2.13 and so at Python 3.10; `opennmt_tf_decode.py` runs there and calls the export as its
users do. `DIR/opennmt_tf/model.py` is the common model in its terms.
"""

import gzip
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

from baseline_programs import Skipped, environment, run

VERSION = "2.32.0"
PACKAGES = [
    f"OpenNMT-tf=={VERSION}",
    "tensorflow-cpu==2.13.1",
    "tensorflow-addons==0.21.0",
    "numpy==1.24.3",
]
BATCH_SIZE = 64  # sentences, in training
MAX_LENGTH = 60  # tokens of a hypothesis, as in the other programs
BEAMS = [1, 5]


def opennmt_python(args):
    """An interpreter with OpenNMT-tf: the one given, or a virtual environment under the user's cache folder.

    Raises:
        Skipped: if there is no Python 3.10, or the installation fails.
    """
    if args.opennmt_python:
        return args.opennmt_python
    log = args.work / "opennmt_tf" / "install.log"
    return environment(f"opennmt-tf-{VERSION}", python_3_10(), PACKAGES, log)


def python_3_10():
    """The first Python 3.10 that starts, of the path's and of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which("python3.10"), *sorted((root / "versions").glob("3.10*/bin/python"))]
    for python in filter(None, found):
        try:
            subprocess.run(
                [python, "-c", "import sys; assert sys.version_info[:2] == (3, 10)"],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue  # pyenv's own python3.10 fails unless that version is chosen
        return str(python)
    raise Skipped("OpenNMT-tf needs Python 3.10, which is not here; give --opennmt-python")


def train(args, folder, data):
    """Trains and exports one model for each beam size, unless that is done."""
    if (folder / "exported").exists():
        return
    model = args.baselines / "opennmt_tf" / "model.py"
    if not model.exists():
        raise Skipped(f"there is no {model}")
    python = opennmt_python(args)
    pairs = unpack(data, folder)
    steps = math.ceil(args.epochs * pairs / BATCH_SIZE)
    configure(folder, steps)
    print(f"opennmt_tf: training for {args.epochs} epochs ...", flush=True)
    threads = [f"--{kind}_op_parallelism_threads={args.threads}" for kind in ("intra", "inter")]
    command = [Path(python).parent / "onmt-main", "--model", model, *threads, "--seed", args.seed]
    run([*command, "--config", "data.yml", "train"], folder / "train.log", args.threads, folder)
    for beam in BEAMS:
        export = ["--config", "data.yml", f"beam-{beam}.yml", "export", "--output_dir", f"beam-{beam}"]
        run([*command, *export], folder / f"export-{beam}.log", args.threads, folder)
    (folder / "exported").touch()


def unpack(data, folder):
    """The corpus as plain files, the vocabulary with this toolkit's special tokens; the number of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for language in ("en", "de"):
        text = gzip.decompress((data / f"train.bpe.{language}.gz").read_bytes())
        (folder / f"train.bpe.{language}").write_bytes(text)
    pieces = (data / "vocab.txt").read_text(encoding="utf8")
    (folder / "vocab.txt").write_text(f"<blank>\n<s>\n</s>\n{pieces}", encoding="utf8")
    return text.count(b"\n")


def configure(folder, steps):
    """The configuration files; JSON is YAML, too."""
    data = {"source_vocabulary": "vocab.txt", "target_vocabulary": "vocab.txt"}
    data |= {"train_features_file": "train.bpe.en", "train_labels_file": "train.bpe.de"}
    optimizer = {"optimizer": "Adam", "learning_rate": 0.001, "optimizer_params": {"clipnorm": 5.0}}
    batch = {"batch_size": BATCH_SIZE, "batch_type": "examples", "length_bucket_width": 1}
    steps = {"max_step": steps, "save_checkpoints_steps": steps}
    write(
        folder / "data.yml", {"model_dir": "run", "data": data, "params": optimizer, "train": batch | steps}
    )
    for beam in BEAMS:
        search = {"beam_width": beam, "maximum_decoding_length": MAX_LENGTH}
        write(folder / f"beam-{beam}.yml", {"params": search})


def write(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")
