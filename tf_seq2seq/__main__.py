"""`python -m tf_seq2seq` is the `tf-seq2seq` command."""

import sys

from tf_seq2seq.cli import main

sys.exit(main())
