"""From a generator to a SavedModel."""
