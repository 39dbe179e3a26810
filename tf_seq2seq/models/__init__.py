"""Encoders, decoders and the trainable model made of them."""
