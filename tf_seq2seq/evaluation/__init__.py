"""Hypotheses and references become numbers, tables and pictures."""
