"""The subcommands of `tf-seq2seq`, one module each: HELP, DESCRIPTION, EPILOG, `add_options` and `run`."""
