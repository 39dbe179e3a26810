"""Losses, schedules and callbacks for `fit`."""
