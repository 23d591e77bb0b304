"""The commands: parse, call, print. Each module holds the commands of one kind; `main` gathers them."""

import sys
from contextlib import suppress
from typing import Any

import click

from commands.answers import caption, embed
from commands.archive import export_index_vectors, index, pull, push, reindex, status
from commands.classifying import classify
from commands.evaluation import evaluate
from commands.models import models
from commands.phonetics import intelligibility
from commands.reranking import rerank
from commands.searching import search
from commands.serving import serve
from commands.terminal import all_printed, note, reason_of
from commands.training import annotate, export, train
from encoders import AudioError, ModelError, TextError
from encoders.espeak import EspeakError
from encoders.manifest import ManifestError
from encoders.texts import in_one_line
from indexer import MetadataError, StoreError
from indexer.store import FilterError
from search import QueryError

EXPECTED = (ModelError, EspeakError, StoreError, MetadataError, FilterError, QueryError, TextError, ManifestError)
"""Errors whose message is for the user, as those of the system are; anything else is a defect and shows its traceback."""


class Commands(click.Group):
    """Turns expected errors into one sentence and exit status 2, and Ctrl-C into 130."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            with all_printed():
                return super().main(*arguments, **options)
        except BrokenPipeError:  # who read has read enough
            sys.exit(1)
        except OSError as error:
            with suppress(OSError):  # what cannot be said either
                note(f"Error: {reason_of(error)}")
            sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (*EXPECTED, AudioError) as error:
            reason = f"A sound cannot be used: {error}." if isinstance(error, AudioError) else str(error)
            refusal = click.ClickException(in_one_line(reason))
            refusal.exit_code = 2
            raise refusal from error
        except KeyboardInterrupt:
            note("Stopped. What is done is kept: run the same command again to go on.")
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="voxdex")
def main() -> None:
    """Find a voice by describing it.

    \b
    voxdex index ./audio
    voxdex search "breathy, sad female voice"

    Exit status: 0 done; 1 done, but some inputs failed; 2 wrong use, or nothing could be done.
    """


ARCHIVE = (index, reindex, status, push, pull, export_index_vectors)
ANSWERS = (search, serve, caption, classify, rerank, intelligibility, embed)
MODELS = (models, evaluate, annotate, train, export)
for command in ARCHIVE + ANSWERS + MODELS:
    main.add_command(command)
