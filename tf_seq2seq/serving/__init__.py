"""Asking an exported model: clients of TF Serving, and a small local server that speaks its REST API."""
