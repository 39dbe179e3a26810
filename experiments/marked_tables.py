"""A table in a page of Markdown that a script makes anew: it stands between two marks."""


def with_table(text, made, marks):
    """A page's text with another table between its marks.

    >>> with_table("a <from> old <to> b", "new", ("<from>", "<to>")).splitlines()
    ['a <from>', 'new', '<to> b']
    """
    begin, end = marks
    before, rest = text.split(begin)
    return f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
