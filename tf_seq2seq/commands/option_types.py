"""What the values of options are: each function makes one of its text, or tells what was expected."""

import argparse


def positive(text):
    """A whole number above 0.

    >>> positive("3")
    3
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"give a whole number above 0, not {text}")
    return number


def count(text):
    """A whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"give a whole number of at least 0, not {text}")
    return number


def factor(text):
    """A number above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"give a number above 0, not {text}")
    return number


def share(text):
    """A number above 0 and at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"give a number above 0 and at most 1, not {text}")
    return number


def strength(text):
    """A number of at least 0."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"give a number of at least 0, not {text}")
    return number


def length(text):
    """A length in tokens: a whole number, or two numbers A,B for A times the source's length plus B.

    >>> length("20"), length("1.5,10")
    (20, (1.5, 10.0))
    """
    if "," not in text:
        return positive(text)
    ratio, constant = text.split(",")
    return float(ratio), float(constant)
