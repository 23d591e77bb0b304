"""The command line: `main` is the group of all commands, one module each."""

import sys
from contextlib import suppress
from typing import Any

import click

from voxdex import __version__
from voxdex.commands.caption import caption
from voxdex.commands.classify import classify
from voxdex.commands.console import all_printed, print_note, reason_of
from voxdex.commands.embed import embed
from voxdex.commands.evaluate import evaluate
from voxdex.commands.index import index
from voxdex.commands.indexes import indexes
from voxdex.commands.intelligibility import intelligibility
from voxdex.commands.maintenance import check, export_index_vectors, pull, push, reindex, status
from voxdex.commands.models import models
from voxdex.commands.report import report
from voxdex.commands.rerank import rerank
from voxdex.commands.search import search
from voxdex.commands.serve import serve
from voxdex.commands.speakers import speakers
from voxdex.commands.teach import taught, teach
from voxdex.commands.timeline import timeline
from voxdex.commands.train import annotate, export, train
from voxdex.commands.watch import watch
from voxdex.encoders.errors import VoxdexError, in_one_line
from voxdex.encoders.machine import MORE_MEMORY, is_out_of_memory


class RefusalError(click.ClickException):
    """The sentence of a VoxdexError."""

    exit_code = 2


class Commands(click.Group):
    """Turns a VoxdexError, an OSError, or a lack of memory into a sentence and exit status 2, and Ctrl-C into 130.

    Any other exception is a defect and shows its traceback.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            with all_printed():
                return super().main(*arguments, **options)
        except BrokenPipeError:  # the reader of a pipe has closed it
            sys.exit(1)
        except OSError as error:
            with suppress(OSError):  # stderr may be closed too
                print_note(f"Error: {reason_of(error)}")
            sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VoxdexError as error:
            raise RefusalError(in_one_line(error.sentence)) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise RefusalError(MORE_MEMORY) from error
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

    Exit status: 0 for success; 1 if some inputs failed; 2 for wrong use, or if nothing could be done; 130 for an interruption.
    """


ARCHIVE = (index, watch, reindex, status, check, report, teach, taught, speakers, indexes, push, pull, export_index_vectors)
ANSWERS = (search, timeline, serve, caption, classify, rerank, intelligibility, embed)
MODELS = (models, evaluate, annotate, train, export)
for command in ARCHIVE + ANSWERS + MODELS:
    main.add_command(command)
