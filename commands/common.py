"""What several commands share: options, arguments, and how they end."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from commands.terminal import Waiting, note
from encoders import AudioError, Model, ModelCard, ModelError, default_model, open_model
from encoders.files import replace_file
from encoders.model_folder import voxdex_home
from encoders.remote import Location, as_location, is_folder, is_url
from encoders.runtime import DEVICES, parse_device
from indexer import DEFAULT_INDEX, Folder, Server, find_recordings, index_folder
from indexer.files import printable
from indexer.opening import PATIENCE_WRITING

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class RecordingPath(click.Path):
    """A recording or a folder of them: a path of this machine, or a URL."""

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> Location:
        return value if is_url(value) else super().convert(value, param, context)


RECORDING = RecordingPath(path_type=Path)

as_json = click.option("--json", "json_output", is_flag=True, help="Print one JSON document instead of a table.")
model_option = click.option(
    "--model", default=default_model, show_default="mini, or VOXDEX_MODEL", metavar="NAME_OR_FOLDER", help="See `models`."
)
language_option = click.option(
    "--language", default="en-us", show_default=True, help="Of the text, as espeak-ng calls it: en-gb, de, nl, pl ..."
)


class Fraction(click.FloatRange):
    """A number from 0 to 1; click takes NaN for one."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not from 0 to 1.", param, context)
        return number


class DeviceName(click.ParamType):
    """A device of ONNX Runtime; see DEVICES."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        try:
            parse_device(value)
        except ModelError as error:
            self.fail(str(error), param, context)
        return value


device_option = click.option(
    "--device", type=DeviceName(), default="auto", show_default=True, help=f"Where to embed: {DEVICES}."
)


index_option = click.option(
    "--index", "index_name", default=DEFAULT_INDEX, show_default=True, metavar="DIR_OR_NAME",
    help="A name in your data folder, or a folder (with a slash in it).",
)  # fmt: skip


def server_options(required: bool = False, writes: bool = False) -> Callable:
    """Options that say where a Qdrant server is; the command takes it as `server`, None where none is named.

    Args:
        required: there must be one.
        writes: the command writes an index there, or makes one, and waits for a server that is away.
    """

    def decorate(command: Callable) -> Callable:
        @click.option(
            "--url",
            "urls",
            multiple=True,
            metavar="URL",
            envvar="VOXDEX_URL",
            show_envvar=True,
            required=required,
            help="A Qdrant server, http://HOST:6333; several times for a cluster's nodes.",
        )
        @click.option("--collection", default="voxdex", show_default=True, metavar="NAME", help="The index on the server.")
        @click.option("--api-key", envvar="VOXDEX_API_KEY", show_envvar=True, metavar="KEY", help="For the server.")
        @wraps(_writing(command) if writes else command)
        def served(*arguments: Any, urls: tuple[str, ...], collection: str, api_key: str | None, **options: Any) -> Any:
            chosen = {name: options.pop(name) for name in ("shards", "replicas", "patience") if writes}
            if not urls and (chosen.get("shards") or chosen.get("replicas")):
                raise click.UsageError("--shards and --replicas are of a collection on a server: name that with --url.")
            if not urls:
                return command(*arguments, server=None, **options)
            if writes:
                chosen["on_wait"] = Waiting()
            server = Server(urls, collection, api_key or None, **chosen)
            if server.shows_key:
                note("The key for the server can be read on its way there: its address begins with http://, not https://.")
            return command(*arguments, server=server, **options)

        return served

    return decorate


def _writing(command: Callable) -> Callable:
    for option in (
        click.option(
            "--patience",
            type=click.FloatRange(0),
            default=PATIENCE_WRITING,
            show_default=True,
            metavar="SECONDS",
            help="How long a server that is away is waited for.",
        ),
        click.option("--replicas", type=click.IntRange(1), help="Copies of each shard of a new collection, in a cluster."),
        click.option("--shards", type=click.IntRange(1), help="Of a new collection, in a cluster."),
    ):
        command = option(command)
    return command


def at_index(command: Callable | None = None, *, writes: bool = False) -> Callable:
    """Options that say where an index is, in a folder or on a server; the command takes it as `place`."""
    if command is None:
        return partial(at_index, writes=writes)

    @index_option
    @server_options(writes=writes)
    @wraps(command)
    def placed(*arguments: Any, index_name: str, server: Server | None, **options: Any) -> Any:
        return command(*arguments, place=server or Folder(index_folder(index_name)), **options)

    return placed


def open_encoder(model: str, device: str) -> Model:
    """Opens a model and says where it runs."""
    encoder = open_model(model, device)
    introduce(encoder)
    return encoder


def introduce(encoder: Model) -> None:
    """Says which model embeds, and where."""
    tell_licence(encoder.card)
    note(f"Embedding with {encoder.card.name} on {encoder.start()}.")


def tell_licence(card: ModelCard) -> None:
    """Says under which licence a model is, the first time that this user meets it."""
    told = voxdex_home() / "licences-told.txt"
    line = f"{card.name} {card.version}: {card.licence}\n"
    with suppress(OSError):  # a home that cannot be read or written: then it is said again
        before = told.read_text(encoding="utf-8", errors="replace") if told.exists() else ""
        if line in before:
            return
        told.parent.mkdir(parents=True, exist_ok=True)
        replace_file(told, before + line)
    note(f"The model {card.name} is licensed {card.licence}. `voxdex models` lists all; VOXDEX_MODEL or --model takes another.")


def check_folder_of(out: Path) -> None:
    """Refuses a file that cannot be written, before the work for it is done."""
    folder = out.absolute().parent
    if not is_folder(folder):
        raise click.UsageError(f"There is no folder {folder} to write {out.name} to.")
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise click.UsageError(f"{out} may not be written; check its permissions.")


def parse_labels(text: str | None) -> list[str]:
    """The labels of --labels; none for None."""
    if text is None:
        return []
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise click.UsageError(f'--labels {text!r} has an empty label; write them as in "angry,happy,sad".')
    return labels


def each_file(files: Sequence[Location], answer: Callable[[Location], Iterable]) -> tuple[list, list[dict[str, str]]]:
    """All answers for all files, and what failed."""
    answers, failed = [], []
    for path in tqdm(files, unit=" recordings", disable=True if len(files) < 2 else None, dynamic_ncols=True):
        try:
            answers.extend(answer(path))
        except AudioError as error:
            failed.append({"path": printable(path), "reason": str(error)})
    return answers, failed


def recordings_in(paths: Sequence[Location]) -> tuple[list[Location], list[dict[str, str]]]:
    """Files as they are named, and the recordings under folders; and what of the folders cannot be listed."""
    found, failed = [], []
    for path in paths:
        if isinstance(path, Path) and not is_folder(path):
            found.append(path)
            continue
        walk = find_recordings([path])
        found += map(as_location, walk.recordings)
        failed += [{"path": failure.path, "reason": failure.reason} for failure in (*walk.failed, *walk.absent)]
    return found, failed


def finish(something_done: bool, failed: Sequence[dict[str, str]]) -> None:
    """Names what failed and exits: 0 if nothing did, 2 if nothing could be done, else 1."""
    for failure in failed:
        note(f"Failed: {failure['path']}: {failure['reason']}.")
    if failed:
        sys.exit(1 if something_done else 2)
