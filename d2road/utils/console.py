"""What a program says on the terminal: in short by default, all of it with --verbose; log.txt has all of it always."""

import logging
import re
import sys

# `logger.info(text, extra=LONG)`: for log.txt and --verbose, not for the terminal.
LONG = {"is_long": True}
LIBRARIES = ("detectron2", "fvcore")
EVALUATOR = "detectron2.evaluation.evaluator"
# "Inference done 11/16. Dataloading: 0.02 s/iter. ... ETA=0:00:02"
EVALUATED = re.compile(r"Inference done (\d+)/(\d+)\..*ETA=(\S+)", re.DOTALL)


class ShortConsole(logging.Filter):
    """Passes warnings, what this project says in short, and how far an evaluation is; a line that comes again, once.

    Long texts (`LONG`) and what libraries say below a warning are left to log.txt. Tables are not compared.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        if record.levelno < logging.INFO or getattr(record, "is_long", False):
            return False
        text = record.getMessage()
        if record.name.split(".")[0] in LIBRARIES:
            return record.name == EVALUATOR and EVALUATED.match(text) is not None
        if "\n" in text:
            return True
        is_new = (record.name, text) not in self._said
        self._said.add((record.name, text))
        return is_new


class ShortFormatter(logging.Formatter):
    """ "21:05:31 text", with the level before it from warnings on."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        evaluated = EVALUATED.match(record.getMessage()) if record.name == EVALUATOR else None
        if evaluated:
            done, total, left = evaluated.groups()
            return f"{self.formatTime(record, self.datefmt)} evaluated {done}/{total}, eta {left}"
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname} {text}"


def shorten_console(log: logging.Logger, short: ShortConsole) -> None:
    """Let what a logger writes to the terminal be short; files are left as they are.

    Args:
        log: with its handlers.
        short: one for all loggers of a program.
    """
    for handler in log.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
            for before in [known for known in handler.filters if isinstance(known, ShortConsole)]:
                handler.removeFilter(before)
            handler.addFilter(short)
            handler.setFormatter(ShortFormatter())


def start_console(*names: str, verbose: bool = False) -> None:
    """Show on the terminal what loggers say from INFO on, for a program without a folder of its run.

    Args:
        names: of the loggers.
        verbose: with long texts, and with the module that says it.
    """
    short = ShortConsole()
    for name in names:
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        log.propagate = False
        for handler in [known for known in log.handlers if isinstance(known, _ConsoleHandler)]:
            log.removeHandler(handler)
        handler = _ConsoleHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("[%(asctime)s %(name)s] %(levelname)s %(message)s"))
        log.addHandler(handler)
        if not verbose:
            shorten_console(log, short)


class _ConsoleHandler(logging.StreamHandler):
    """A handler of `start_console`, which a second call replaces."""
