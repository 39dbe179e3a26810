"""Prints which of the operations named in a file this TensorFlow and its TF-Text have, each with its attributes::

    python portable_operations.py allowed_operations.txt

`test_export_portable.py` runs it with the versions of stock TensorFlow Serving.
"""

import sys

import tensorflow as tf
import tensorflow_text
from tensorflow.python.framework import op_def_registry


def main(path):
    with open(path, encoding="utf-8") as file:
        names = [line.split()[0] for line in file if line.strip() and not line.startswith("#")]
    print(f"# TensorFlow {tf.__version__}, TF-Text {tensorflow_text.__version__}")
    for name in names:
        operation = op_def_registry.get(name)
        if operation is not None:
            print(" ".join([name, *sorted(attribute.name for attribute in operation.attr)]))


if __name__ == "__main__":
    main(sys.argv[1])
