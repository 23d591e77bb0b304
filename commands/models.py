"""The commands `models` and `models add`."""

from dataclasses import asdict
from pathlib import Path

import click

from voxdex.commands.console import new_table, print_json, print_note, print_table
from voxdex.commands.options import FOLDER, as_json, exit_with_failures
from voxdex.commands.train import PRECISION, print_parity, stage_note, training_packages
from voxdex.encoders.model_card import ModelCard, ModelError, find_models, read_card
from voxdex.encoders.paths import voxdex_home

SCORED = ("gender", "emotion", "pitch")
"""Attributes whose recall is shown."""


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def models(context: click.Context, json_output: bool) -> None:
    """List the installed models, or add a published one.

    The list has licences, recall on held-out speakers, and speed.

    \b
    voxdex models
    voxdex models add paraspeechclap-combined.pth.tar
    """
    if context.invoked_subcommand:
        return
    cards, failed = [], []
    for folder in find_models().values():
        try:
            cards.append((folder, read_card(folder)))
        except ModelError as error:
            failed.append({"path": str(folder), "reason": str(error)})
    if json_output:
        print_json({"models": [asdict(card) | {"space": card.space, "folder": str(folder)} for folder, card in cards]})
        exit_with_failures(bool(cards), failed)
        return
    table = new_table("name", "version", "MB", "speed", *SCORED, "licence")
    for folder, card in cards:
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        speed = card.metrics.get("speed", {}).get("audio_seconds_per_second")
        scores = (mean_value(card, name) for name in SCORED)
        table.add_row(folder.name, card.version, f"{size:.0f}", f"{speed:.0f}x" if speed else "", *scores, card.licence)
    print_table(table)
    for folder, card in cards:
        click.echo(f"{folder.name}: {card.description}")
    print_note(
        f"{', '.join(SCORED)}: zero-shot unweighted average recall on held-out speakers in percent, averaged over data sets. "
        "speed: times real time, on the machine that exported the model."
    )
    exit_with_failures(bool(cards), failed)


def mean_value(card: ModelCard, name: str) -> str:
    """Return the mean of a metric over data sets, as text; "" if the model was not evaluated."""
    values = [metric["value"] for metric in card.metrics.get("evaluation", ()) if metric["name"] == name]
    return f"{sum(values) / len(values):.0f}" if values else ""


@models.command("add")
@click.argument("source", metavar="FILE_OR_HUB_NAME")
@click.option("--name", help="The name of the model.  [default: that of the file, as in paraspeechclap-combined]")
@click.option(
    "--speech", metavar="DIR_OR_HUB_NAME", help="The configuration of the speech tower.  [default: microsoft/wavlm-large]"
)
@click.option(
    "--text",
    metavar="DIR_OR_HUB_NAME",
    help="The configuration and tokenizer of the text tower.  [default: granite-embedding-278m]",
)
@PRECISION
@click.option("--clips", type=FOLDER, help="Recordings for the parity report.  [default: synthetic sounds]")
@as_json
def add(
    source: str, name: str | None, speech: str | None, text: str | None, precision: str, clips: Path | None, json_output: bool
) -> None:
    """Convert a published ParaSpeechCLAP checkpoint to a model.

    The checkpoint is a file (.pth.tar) or a name on the HuggingFace hub. The graphs are compared with torch.

    \b
    voxdex models add ajd12342/paraspeechclap-combined
    voxdex models add paraspeechclap-intrinsic.pth.tar --speech ./wavlm-large
    """
    with training_packages():
        from voxdex.encoders.training.paraspeechclap import SPEECH_SOURCE, TEXT_SOURCE, open_published
        from voxdex.export.model_folder import write_model
        from voxdex.export.paraspeechclap import find_published, published_info

        published = find_published(source, name)
        out = voxdex_home() / "models" / published.name
        former = find_models().get(published.name)
        if former:
            raise ModelError(f"There is a model {published.name!r} already. Choose another --name, or delete {former}.")
        stage_note(f"reading {published.file}")
        model = open_published(published.file, speech or SPEECH_SOURCE, text or TEXT_SOURCE)
        parity = write_model(model, published_info(published), out, precision, clips, stage_note)
    card = read_card(out)
    if json_output:
        return print_json(
            {"name": published.name, "folder": str(out), "licence": card.licence, "space": card.space, "parity": asdict(parity)}
        )
    print_parity(parity)
    print_note(f"{out}: {card.licence}. Use it with --model {published.name}.")
