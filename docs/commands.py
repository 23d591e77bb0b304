"""Writes docs/commands.md from the commands' own help.   python docs/commands.py"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))

from voxdex.commands import main

PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = """\
# Commands

In a checkout, `./cli.py` and `voxdex` are the same program. This page is made from `--help` by `python docs/commands.py`.
"""


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """(full name, help text) of a command and of those below it."""
    context = click.Context(
        command, info_name=name, terminal_width=100, max_content_width=100, help_option_names=["-h", "--help"]
    )
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for child, below in sorted(command.commands.items()):
            yield from helps(below, f"{name} {child}")


def page() -> str:
    """The whole page as Markdown."""
    return INTRODUCTION + "".join(f"\n## {name}\n\n```\n{text}\n```\n" for name, text in helps(main, "voxdex"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
