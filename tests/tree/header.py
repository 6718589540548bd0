"""The public header as the tree's tests read it: which functions it declares, and which of them are documented."""
import re

FUNCTION = re.compile(r"\b(beck_[a-z0-9_]+)\(")


def declarations(path):
    """Yields (name, documented) of every public function. Documented is one with a comment between the function before it and
    itself (types may lie between), or that directly follows a documented one: a comment covers its group."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    documented = in_comment = False
    text = None  # of the declaration being read
    after_function = False
    for line in lines:
        if not in_comment and line.lstrip().startswith("/*"):
            in_comment = True
            if after_function:
                documented = after_function = False
            documented = documented or not line.startswith("/* ----")  # a heading documents nothing
        if in_comment:
            in_comment = "*/" not in line
        elif text is None and not line.startswith("BECK_API"):
            if after_function:  # anything else ends the group
                documented = after_function = False
            documented = documented or "/*" in line
        else:
            text = (text or "") + " " + line.strip()
            if ";" in line:
                yield FUNCTION.search(text).group(1), documented
                text, after_function = None, True
