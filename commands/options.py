"""Options, arguments and exit statuses that several commands share."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from tqdm import tqdm

from voxdex.commands.console import WIDTH, Waiting, print_note
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.remote import Location, as_location, is_folder, is_url
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.model_card import ModelCard, ModelError, default_model
from voxdex.encoders.onnx_session import DEVICES, parse_device
from voxdex.encoders.paths import replace_file, voxdex_home
from voxdex.encoders.phonetic.model import PHONETIC
from voxdex.indexer.location import DEFAULT_INDEX, RUN_PATIENCE, LocalIndex, ServerIndex, index_folder
from voxdex.indexer.scan import find_recordings, printable
from voxdex.search.embed import NoSpeechError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
Answer = TypeVar("Answer")
Command = Callable[..., Any]
"""A function that becomes a command."""


class RecordingPath(click.Path):
    """A recording or a folder of them: a path of this machine, or a URL."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, context: click.Context | None) -> Location:
        text = os.fspath(value)
        return text if is_url(text) else Path(os.fsdecode(super().convert(value, param, context)))


RECORDING = RecordingPath(path_type=Path)

no_vad_option = click.option("--no-vad", is_flag=True, help="Use all sound, not only speech: screams, breaths, effects.")
as_json = click.option("--json", "json_output", is_flag=True, help="Print one JSON document instead of a table.")
width_option = click.option(
    "--width", type=click.IntRange(40), metavar="CHARACTERS", expose_value=False,
    callback=lambda context, _, width: context.meta.__setitem__(WIDTH, width),
    help="Width of the table, in which long paths and texts are shortened.  [default: that of the terminal]",
)  # fmt: skip
model_option = click.option(
    "--model", default=default_model, metavar="NAME_OR_FOLDER",
    help="The model: a name of `models`, or a folder.  [default: mini, or VOXDEX_MODEL]",
)  # fmt: skip
phonetic_model_option = click.option(
    "--model",
    default=PHONETIC,
    show_default=True,
    metavar="NAME_OR_FOLDER",
    help="The phonetic model: a name of `models`, or a folder.",
)
language_option = click.option(
    "--language",
    default="en-us",
    show_default=True,
    help="Language of the text, as an espeak-ng code: en-gb, de, nl, pl ...",
)


class Fraction(click.FloatRange):
    """A number from 0 to 1. click alone would accept NaN."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not from 0 to 1.", param, context)
        return number


class DeviceName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A device of ONNX Runtime; see DEVICES."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        try:
            parse_device(value)
        except ModelError as error:
            self.fail(str(error), param, context)
        return value


device_option = click.option(
    "--device", type=DeviceName(), default="auto", show_default=True, help=f"Device to embed on: {DEVICES}."
)


index_option = click.option(
    "--index", "index_name", default=DEFAULT_INDEX, show_default=True, metavar="DIR_OR_NAME",
    help="The index: a name in your data folder, or a path with a slash.",
)  # fmt: skip


SERVER_SETTINGS = {"shards": "qdrant_shards", "replicas": "qdrant_replicas", "patience": "patience"}
"""Fields of ServerIndex, and the options of commands that write."""


def check_used(parameter: str, needs: str, *, used: bool) -> None:
    """Refuse an option that was given and does nothing.

    Args:
        parameter: name of the command's parameter.
        needs: what the option needs, as in "--group-by".
        used: whether that is there.

    Raises:
        click.UsageError: the option was given without it.
    """
    context = click.get_current_context()
    if not used and context.get_parameter_source(parameter) == ParameterSource.COMMANDLINE:
        [option] = (each for each in context.command.params if each.name == parameter)
        raise click.UsageError(f"{option.opts[0]} does nothing without {needs}.")


def server_options(*, required: bool = False, writes: bool = False) -> Callable[[Command], Command]:
    """Add the options for an index on a Qdrant server; the command takes it as `server`, None without --url.

    Args:
        required: whether --url is required.
        writes: whether the command writes the index, and waits for an unavailable server.
    """

    def decorate(command: Command) -> Command:
        @click.option(
            "--url",
            "urls",
            multiple=True,
            metavar="URL",
            envvar="VOXDEX_URL",
            show_envvar=True,
            required=required,
            help="Address of a Qdrant server, http://HOST:6333; repeatable for the nodes of a cluster.",
        )
        @click.option(
            "--collection", default="voxdex", show_default=True, metavar="NAME", help="Name of the index on the server."
        )
        @click.option("--api-key", envvar="VOXDEX_API_KEY", show_envvar=True, metavar="KEY", help="API key of the server.")
        @wraps(_writing(command) if writes else command)
        def served(*arguments: Any, urls: tuple[str, ...], collection: str, api_key: str | None, **options: Any) -> Any:
            chosen = {name: options.pop(option) for name, option in SERVER_SETTINGS.items() if writes}
            if not urls and (chosen.get("shards") or chosen.get("replicas")):
                raise click.UsageError("--qdrant-shards and --qdrant-replicas need a server: give its address with --url.")
            check_used("collection", "--url", used=bool(urls))
            if not urls:
                return command(*arguments, server=None, **options)
            if writes:
                chosen["on_wait"] = Waiting()
            server = ServerIndex(urls, collection, api_key or None, **chosen)
            if server.shows_key:
                print_note("The API key is sent unencrypted: the address of the server begins with http://, not https://.")
            return command(*arguments, server=server, **options)

        return served

    return decorate


def _writing(command: Command) -> Command:
    for option in (
        click.option(
            "--patience",
            type=click.FloatRange(0),
            default=RUN_PATIENCE,
            show_default=True,
            metavar="SECONDS",
            help="Time to wait for an unavailable server.",
        ),
        click.option(
            "--qdrant-replicas", type=click.IntRange(1), help="Number of replicas of each shard of a new index, in a cluster."
        ),
        click.option("--qdrant-shards", type=click.IntRange(1), help="Number of shards of a new index, in a cluster."),
    ):
        command = option(command)
    return command


def at_index(command: Command | None = None, *, writes: bool = False) -> Command:
    """Add the options for the location of an index, a folder or a server; the command takes it as `location`."""
    if command is None:
        return partial(at_index, writes=writes)

    @index_option
    @server_options(writes=writes)
    @wraps(command)
    def located(*arguments: Any, index_name: str, server: ServerIndex | None, **options: Any) -> Any:
        return command(*arguments, location=server or LocalIndex(index_folder(index_name)), **options)

    return located


def open_encoder(model: str, device: str) -> Model:
    """Open a model, and print its name and device."""
    encoder = open_model(model, device)
    announce_model(encoder)
    return encoder


def announce_model(encoder: Model) -> None:
    """Print the name and the device of a model, and its licence the first time."""
    show_licence_once(encoder.card)
    device = encoder.start()
    why = f" ({device.reason})" if device.is_surprising else ""
    print_note(f"Embedding with {encoder.card.name} on {device.name}{why}.")


def show_licence_once(card: ModelCard) -> None:
    """Print the licence of a model, the first time that this user opens it."""
    shown = voxdex_home() / "licences-shown.txt"
    line = f"{card.name} {card.version}: {card.licence}\n"
    with suppress(OSError):  # a data folder that cannot be read or written: the licence is printed again
        before = shown.read_text(encoding="utf-8", errors="replace") if shown.exists() else ""
        if line in before:
            return
        shown.parent.mkdir(parents=True, exist_ok=True)
        replace_file(shown, before + line)
    print_note(
        f"The model {card.name} is licensed {card.licence}. `voxdex models` lists all; VOXDEX_MODEL or --model takes another."
    )


def check_folder_of(out: Path) -> None:
    """Refuse an output file that cannot be written.

    Raises:
        click.UsageError: its folder is missing, or it may not be written.
    """
    folder = out.absolute().parent
    if not is_folder(folder):
        raise click.UsageError(f"There is no folder {folder} to write {out.name} to.")
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise click.UsageError(f"{out} may not be written; check its permissions.")


def parse_labels(text: str | None) -> list[str]:
    """Parse the labels of --labels; [] for None."""
    if text is None:
        return []
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise click.UsageError(f'--labels {text!r} has an empty label; write them as in "angry,happy,sad".')
    return labels


def each_file(
    files: Sequence[Location], answer: Callable[[Location], Iterable[Answer]]
) -> tuple[list[Answer], list[dict[str, str]], list[str]]:
    """Return the answers for all files, the files that failed, and those in which nobody speaks."""
    answers: list[Answer] = []
    failed, without_speech = [], []
    for path in tqdm(files, unit=" recordings", disable=True if len(files) < 2 else None, dynamic_ncols=True):
        try:
            answers.extend(answer(path))
        except NoSpeechError:
            without_speech.append(printable(path))
        except AudioError as error:
            failed.append({"path": printable(path), "reason": str(error)})
    return answers, failed, without_speech


def recordings_in(paths: Sequence[Location]) -> tuple[list[Location], list[dict[str, str]]]:
    """Return the files and the recordings in the folders, and the folders that cannot be listed."""
    found: list[Location] = []
    failed = []
    for path in paths:
        if isinstance(path, Path) and not is_folder(path):
            found.append(path)
            continue
        walk = find_recordings([path])
        found += map(as_location, walk.recordings)
        failed += [{"path": failure.path, "reason": failure.reason} for failure in (*walk.failed, *walk.absent)]
    return found, failed


def exit_with_failures(something_done: bool, failed: Sequence[dict[str, str]], without_speech: Sequence[str] = ()) -> None:
    """Print the failures and exit with status 1, or 2 if nothing could be done; return if there are none.

    Recordings in which nobody speaks are named. They are no failures, as for an index, unless there is nothing else.
    """
    for path in without_speech:
        print_note(f"Nobody speaks in {path} (--no-vad uses all sound).")
    for failure in failed:
        print_note(f"Failed: {failure['path']}: {failure['reason']}.")
    if failed or (without_speech and not something_done):
        sys.exit(1 if something_done else 2)
