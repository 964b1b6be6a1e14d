"""What every program in tools/exporters/ shares: which data set, where the files go, audit, exit codes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tracekit import ROOT, cli
from tracekit.dataset import Dataset, open_dataset
from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.files.place import building
from tracekit.jsonl import write_document
from tracekit.runs import chosen_cctf
from tracekit.settings import Settings
from tracekit.validate import find_problems

Export = Callable[[Dataset, Path, Settings, Audit], None]

PLACE = """
DIR, a data set, comes as argument or from the environment; without it unified_cctf/<RUN_ID>, where the run is
merged, else logs/<RUN_ID>/cctf of the chosen run. The files go to exports/{name}/ of the run, whole or not at
all, with audit.json: what was counted, refused, imputed and left out. Refused records make the exit code 3.
"""


def exporter(doc: str | None, export: Export, *options: str) -> Callable[[Sequence[str] | None], int]:
    """The main() of an exporter whose manual is doc.

    export writes the files of a data set into a folder, raises TracekitError where nothing can be made of
    it, and tells the audit the rest. options: the variables that change the files; the audit repeats them."""

    def main(argv: Sequence[str] | None = None) -> int:
        name = cli.prog()
        parser = cli.parser((doc or "") + PLACE.format(name=name))
        parser.add_argument("dir", nargs="?", metavar="DIR")
        settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
        dataset = _valid_dataset(settings)
        audit = Audit()
        exports = dataset.home / "exports"
        exports.mkdir(mode=0o750, exist_ok=True)
        with building(exports / name) as folder:
            try:
                export(dataset, folder, settings, audit)
            except TracekitError:
                for line in audit.lines():
                    cli.warn(line)
                raise
            except ModuleNotFoundError as error:
                told = f"{error.name} is missing: tools/setup.sh tools/exporters/{name}.py"
                raise TracekitError(told) from error
            given = {option: settings[option] for option in options}
            write_document(folder / "audit.json", _head(name, dataset, given) | audit.as_document())
        _tell(audit, exports / name)
        return cli.REJECTED if audit.refused else cli.DONE

    return main


def _valid_dataset(settings: Settings) -> Dataset:
    folder = chosen_cctf(settings, ROOT)
    dataset = open_dataset(folder)
    if next(find_problems(folder), None):
        name = cli.shown(folder)
        raise TracekitError(f"{name}: not valid; `make validate DIR={name}` says why")
    return dataset


def _head(name: str, dataset: Dataset, options: dict[str, str]) -> dict[str, object]:
    """What was exported: the manifest's hash stands for every byte of the data set."""
    manifest = dataset.manifest
    digest = hashlib.sha256((dataset.folder / "manifest.json").read_bytes()).hexdigest()
    source = {"run_id": manifest.run_id, "nodes": manifest.nodes, "manifest_sha256": digest}
    return {"exporter": name, "source": source, "options": options}


def _tell(audit: Audit, folder: Path) -> None:
    for line in audit.lines():
        cli.out(line)
    files = sorted(path.name for path in folder.iterdir())
    cli.out(f"{cli.shown(folder)}: {' '.join(files)}")
    refused = sum(group.count for group in audit.refused.values())
    if refused:
        cli.warn(f"{refused} records refused (exit {cli.REJECTED})")
