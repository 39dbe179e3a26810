"""Keras layers of recurrent sequence-to-sequence models: tensors to tensors."""
