"""The subcommands of `tf-seq2seq`, one module each: HELP, USAGE, DESCRIPTION, EPILOG, `add_options` and `run`."""
