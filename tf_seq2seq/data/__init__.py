"""Strings and pictures become padded batches."""
