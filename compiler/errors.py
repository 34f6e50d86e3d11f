"""The one error that the compiler raises for a model it cannot compile."""


class CompileError(Exception):
    """A model that cannot be compiled. Its text is one line: where, what is wrong, what to do."""

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        """Join `where` (file, node), `problem` and an optional `remedy` into one line."""
        text = f"{where}: {problem}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(text.split()))
