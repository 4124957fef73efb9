"""The exit code of a verb, whether its parser or the verb itself refuses."""

from collections.abc import Callable, Sequence


def exit_code(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """What `d2road VERB WORDS` would end with."""
    try:
        return main(words)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code
