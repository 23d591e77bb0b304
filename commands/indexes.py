"""The commands `indexes`, `indexes rename` and `indexes delete`."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import new_table, print_json, print_note, print_table
from voxdex.commands.options import as_json, exit_with_failures
from voxdex.indexer.location import LocalIndex, index_folder, indexes_folder
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import StoreError


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def indexes(context: click.Context, json_output: bool) -> None:
    """List the indexes in your data folder, rename or delete one.

    \b
    voxdex indexes
    voxdex indexes rename default oral-history
    voxdex indexes delete trial --yes
    """
    if context.invoked_subcommand:
        return
    found, failed = [], []
    for folder in sorted(indexes_folder().glob("*")):
        try:
            if LocalIndex(folder).exists():
                found.append(describe(folder))
        except StoreError as error:
            failed.append({"path": str(folder), "reason": str(error).removesuffix(".")})
    if json_output:
        print_json({"indexes": found, "failed": failed})
    elif found:
        table = new_table("name", "recordings", "clips", "hours", "MB", "model", "changed")
        for each in found:
            hours, size = f"{each['audio_seconds'] / 3600:.1f}", f"{each['bytes'] / 1e6:.0f}"
            counts = str(each["recordings"]), str(each["clips"])
            table.add_row(each["name"], *counts, hours, size, each["model"], each["changed"].partition("T")[0])
        print_table(table)
    else:
        print_note(f"There is no index in {indexes_folder()}. Make one: voxdex index FOLDER_OF_RECORDINGS.")
    exit_with_failures(bool(found), failed)


def describe(folder: Path) -> dict[str, Any]:
    """Return what the list tells of an index."""
    with LocalIndex(folder).read() as store:
        statistics = index_statistics(store)
    changed = datetime.fromtimestamp(max(file.stat().st_mtime for file in folder.iterdir())).isoformat(timespec="seconds")
    names = ("recordings", "clips", "audio_seconds", "bytes", "model")
    return {"name": folder.name, "folder": str(folder), "changed": changed} | {
        name: getattr(statistics, name) for name in names
    }


@indexes.command()
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Rename an index.

    \b
    voxdex indexes rename default oral-history
    """
    folder, target = index_folder(name), index_folder(new_name)
    if target.exists():
        raise StoreError(f"There is {target} already; choose another name.")
    with LocalIndex(folder).open():  # while no other process writes it
        pass
    folder.rename(target)
    print_note(f"{name} is {new_name} now.")


@indexes.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete an index; the recordings stay.

    \b
    voxdex indexes delete trial --yes
    """
    folder = index_folder(name)
    location = LocalIndex(folder)
    with location.open() as store:
        clips = store.count()
    if not yes:
        click.confirm(f"Delete the index {folder} of {clips} clips?", abort=True)
    location.delete()
    print_note(f"{folder} is deleted.")
