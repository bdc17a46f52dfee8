"""The program: gathers the verbs, and alone turns errors and signals into text and exit codes.

A verb's file imports only the standard library and typer at its top, so that help costs nothing;
what a verb does is imported when it is called, and so are the files of the other verbs.
"""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from inspect import getdoc
from types import FrameType
from typing import Annotated, Any, NoReturn, TextIO

import typer

from mmcli.cli.plain_words import pass_strings
from mmcli.cli.variables import name_variables
from mmcli.core.errors import ExitCode, MmcliError, OutOfResource

EPILOG = """\b
Examples:
  mmcli extract photos -o store
  mmcli retrieve index store -o index
  mmcli retrieve search index "a cup of coffee"

\b
Any option can also come from the variable MMCLI_<VERB>_<OPTION>, or from --config FILE.toml.
Exit codes: 0 done, 1 a defect of mmcli, 2 usage, 3 bad input, 4 a model, extra or program is
missing, 5 out of disk or memory, 6 done but some items failed, 130 and 143 interrupted."""

NAME = "mmcli"
#: By this variable a shell asks for completions.
COMPLETION = f"_{NAME.upper()}_COMPLETE"

#: Each is a file of this folder; groups have verbs of their own. In the order of the help.
VERBS = (
    *("extract", "finetune", "predict", "merge", "runs", "verify"),
    *("models", "methods", "doctor", "demo"),
)
GROUPS = ("retrieve", "align", "fuse", "evaluate", "store", "data")


class Stopped(BaseException):
    """A signal asked the program to end; carries the exit code."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mmcli {version('mmcli')}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_version),
    ] = False,
) -> None:
    """From folders and tables of pictures, text and speech to a cross-modal search index."""


def program(verb: str = "", overview: bool = False) -> Any:
    """The whole command tree, as the parser runs it; only that of `verb` where there is such a one.

    overview: verbs without their options and groups without their verbs, for the first page of
    help. Every option can be set by a variable; saying so once is enough, so help does not repeat
    it.
    """
    pass_strings()
    app = typer.Typer(
        name=NAME,
        help="From folders and tables of pictures, text and speech to a cross-modal search index.",
        epilog=EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MMCLI"},
    )
    app.callback()(root)
    every = (*VERBS, *GROUPS)
    for name in [verb] if verb in every else every:
        module = importlib.import_module(f"mmcli.cli.{name}")
        if name not in GROUPS:
            module.register(app)
        elif overview:
            app.add_typer(typer.Typer(help=module.app.info.help), name=name)
        else:
            app.add_typer(module.app, name=name)
    if overview:
        for info in app.registered_commands:
            info.help, info.callback = info.help or getdoc(info.callback), _nothing
    tree = typer.main.get_command(app)
    waiting: list[tuple[Any, tuple[str, ...]]] = [(tree, (NAME,))]
    while waiting:
        command, path = waiting.pop()
        waiting += [(c, (*path, n)) for n, c in getattr(command, "commands", {}).items()]
        name_variables(command, path)
        for parameter in command.params:
            parameter.show_envvar = False
    return tree


def _nothing() -> None:
    """Stands for a verb of which only the name and the help are shown."""


def _run(tree: Any, words: list[str]) -> int:
    """The exit code of a command line. typer's own runner would turn a closed pipe into exit 1."""
    if COMPLETION in os.environ:
        tree(prog_name=NAME)
    try:
        with tree.make_context(NAME, words) as context:
            return int(tree.invoke(context) or 0)
    except typer.Exit as done:
        return done.exit_code


def main() -> NoReturn:
    """Run the program on `sys.argv` and exit."""
    signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    _mend_streams()
    try:
        words = sys.argv[1:]
        if COMPLETION in os.environ:
            tree = program()
        elif words in ([], ["-h"], ["--help"]):
            tree = program(overview=True)
        else:
            tree = program(words[0])
        code = _run(tree, words)
        sys.stdout.flush()  # here a full disk shows
        _finish(code)
    except Stopped as stopped:
        name = "interrupted" if stopped.code == ExitCode.INTERRUPTED else "terminated"
        _say(name, "what was finished is kept: a command that has `--resume` goes on with it")
        _finish(stopped.code)
    except BrokenPipeError:  # the reader of our output has seen enough
        _finish(ExitCode.OK)
    except Exception as error:  # every exception becomes an exit code here and nowhere else
        _finish(_explain(error))


def _mend_streams() -> None:
    """A standard stream that is closed is the null device; what is printed is UTF-8 anywhere.

    Python leaves None in place of a stream that its caller closed, and the next file opened would
    take that stream's number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _on_signal(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not break the clean-up
    raise Stopped(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)


def _explain(error: Exception) -> int:
    if os.environ.get("MMCLI_DEBUG"):
        import traceback

        traceback.print_exc()
    if isinstance(error, MmcliError):
        _say(f"error: {error.message}", error.hint)
        return int(error.exit_code)
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return _explain_usage(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _explain(OutOfResource("no space left to write", "free some, or write elsewhere"))
    if isinstance(error, MemoryError):
        return _explain(OutOfResource("out of memory", "use a smaller `--batch` or `--shard-size`"))
    if isinstance(error, typer.Abort):
        _say("interrupted", "")
        return int(ExitCode.INTERRUPTED)
    _say(
        f"error: {type(error).__name__}: {' '.join(str(error).split())[:500]}",
        "this is a defect of mmcli: MMCLI_DEBUG=1 shows where",
    )
    return int(ExitCode.DEFECT)


def _explain_usage(error: Any) -> int:
    """An error of the command line itself, as typer's parser found it."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "mmcli"
    message = error.format_message().strip()
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context is not None else message, err=True)
        return int(ExitCode.USAGE)
    _say(f"error: {' '.join(message.split())}", f"`{path} -h` shows what it takes")
    return int(ExitCode.USAGE)


def _say(message: str, hint: str) -> None:
    _flush(sys.stdout)
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
        if hint:
            print(f"hint: {hint}", file=sys.stderr)


def _finish(code: int) -> NoReturn:
    """Exit, and at once where that is safe: taking FAISS down politely costs a search 0.1 s.

    Whatever must be cleaned up has been, by the context managers that the command left; only
    multiprocessing has semaphores of its own to give back.
    """
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if "multiprocessing" in sys.modules:
        sys.exit(int(code))
    os._exit(int(code))


def _flush(stream: TextIO) -> None:
    """Write out what waits; what cannot be written is dropped, so that no later flush fails."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
