"""What every program in tools/adapters/ shares as a command: arguments, the run, messages, exit code."""

import argparse
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from tracekit import cli
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.following import follow
from tracekit.adapt.ids import salts
from tracekit.adapt.reading import STDIN, Block, expand, read
from tracekit.adapt.results import Names, appended, replaced
from tracekit.adapt.sink import Sink
from tracekit.errors import DONE, REJECTED, UsageError
from tracekit.inventory import write_module_inventory
from tracekit.runs import chosen_run, place_of
from tracekit.settings import Settings

_ENDING = (signal.SIGTERM, signal.SIGINT)


def main(doc: str, adapter: type[Adapter], argv: Sequence[str] | None) -> int:
    """Run an adapter over the files named; source: the name of its program."""
    arguments = _arguments(doc, adapter, argv)
    settings = cli.load_settings(**{name: getattr(arguments, name.lower()) for name in _FROM_ARGUMENTS})
    arguments.settings = settings
    words = arguments.files or _words(settings)
    if not words:
        raise UsageError("no input: name files or globs (make: IN=\"...\"), '-' for stdin")
    if arguments.follow and (adapter.is_whole or len(words) != 1):
        raise UsageError("--follow takes one log, of a source of lines")
    inputs = words if arguments.follow else expand(words)
    run, source = chosen_run(settings), cli.prog()
    run.dir.mkdir(parents=True, exist_ok=True)
    names = Names(run.dir, source, settings["TAG"])
    node, stage = place_of(run, settings)
    with (appended if arguments.follow else replaced)(names) as files:
        sink = Sink(source, node, stage, files)
        one = adapter(arguments, sink)
        if arguments.follow:
            _follow(one, inputs, node)
        else:
            _read(one, inputs, node)
        one.finish()
    if sink.modules:
        modules = [{"module_id": name, "name": name, "type": None} for name in sorted(sink.modules)]
        write_module_inventory(run.dir, modules=modules)
    return _tell(sink, names)


_FROM_ARGUMENTS = ("RUN_ID", "NODE_ID", "STAGE", "TAG")


def _arguments(doc: str, adapter: type[Adapter], argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(doc)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="logs, plain or .gz, or globs; '-' is stdin; default: IN"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="append what comes, until SIGTERM")
    parser.add_argument("--run-id", help="the run; default: RUN_ID, else the live or the last one")
    parser.add_argument("--node-id", help="node of the records; default: NODE_ID, else that of the run")
    parser.add_argument("--stage", help="default: STAGE, else that of the run")
    parser.add_argument("--tag", help="writes invocations.<source>-TAG.jsonl; default: TAG")
    adapter.add_options(parser)
    return parser.parse_args(argv)


def _words(settings: Settings) -> list[str]:
    try:
        return shlex.split(settings["IN"])
    except ValueError as error:
        raise UsageError(f"IN: {error}; a name with blanks stands in quotes") from error


def _read(adapter: Adapter, names: Sequence[str], node: str) -> None:
    salt_of = salts(names, node)
    for name in names:
        adapter.begin(salt_of[name])
        blocks = read(name, cli.warn)
        if adapter.is_whole:
            data = b"".join(block.data for block in blocks)
            adapter.take(Block(Path(name).name if name != STDIN else "stdin", 1, data))
            continue
        for block in blocks:
            adapter.take(block)


def _follow(adapter: Adapter, words: Sequence[str], node: str) -> None:
    adapter.begin(salts(words, node)[words[0]])
    if words[0] == STDIN:
        for block in read(STDIN, cli.warn):
            adapter.take(block)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # _is_ending takes them
    for block in follow(Path(words[0]), _is_ending):
        adapter.take(block)


def _is_ending(seconds: float) -> bool:
    return signal.sigtimedwait(_ENDING, seconds) is not None


def _tell(sink: Sink, names: Names) -> int:
    account = sink.account
    skipped = "".join(f", {count} {reason} left out" for reason, count in sorted(account.skipped.items()))
    cli.out(f"{cli.shown(names.invocations)}: {account.taken} invocations of {account.entries}{skipped}")
    torn = account.rejected["torn"]
    if torn:
        cli.warn(f"{torn} torn last lines (their writer was killed, or still writes)")
    bad = account.rejected.total() - torn
    if not bad:
        return DONE
    for one in sink.first_bad:
        cli.warn(one)
    cli.warn(f"exit 3: {bad} of {account.entries} rejected; all of them are in {cli.shown(names.rejected)}")
    return REJECTED
