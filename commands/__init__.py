"""The commands: parse, call, print. Each module holds the commands of one kind; `main` gathers them."""

import sys
from contextlib import suppress
from typing import Any

import click

from voxdex import __version__
from voxdex.commands.caption import caption, embed
from voxdex.commands.classify import classify
from voxdex.commands.console import all_printed, print_note, reason_of
from voxdex.commands.evaluate import evaluate
from voxdex.commands.index import export_index_vectors, index, pull, push, reindex, status
from voxdex.commands.intelligibility import intelligibility
from voxdex.commands.models import models
from voxdex.commands.rerank import rerank
from voxdex.commands.search import search
from voxdex.commands.serve import serve
from voxdex.commands.train import annotate, export, train
from voxdex.encoders.audio.reader import AudioError
from voxdex.encoders.model import ModelError
from voxdex.encoders.phonetic.g2p import EspeakError
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.texts import TextError
from voxdex.indexer.metadata import MetadataError
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.filters import FilterError
from voxdex.search.query import QueryError

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
                print_note(f"Error: {reason_of(error)}")
            sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            refusal = click.ClickException(str(error))
            refusal.exit_code = 2
            raise refusal from error
        except AudioError as error:
            refusal = click.ClickException(f"A sound cannot be used: {error}.")
            refusal.exit_code = 2
            raise refusal from error
        except KeyboardInterrupt:
            print_note("Stopped. What is done is kept: run the same command again to go on.")
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="voxdex")
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
