"""Every option and argument of every command, with values that it cannot take: exit status 2 and a sentence."""

from collections.abc import Iterator

import click
import pytest

from voxdex.commands import main

NOWHERE = "/nowhere/at/all.wav"


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


def bad_values(kind: click.ParamType) -> list[str]:
    """Return values that a parameter of a kind refuses."""
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        low = getattr(kind, "min", None)
        return ["many", "", "nan", *([str(low - 1)] if low is not None else [])]
    if isinstance(kind, click.Choice):
        return ["neither", ""]
    if isinstance(kind, click.Path):
        wrong = {NOWHERE: kind.exists, ".": not kind.dir_okay, "file.csv": not kind.file_okay}
        return [path for path, is_wrong in wrong.items() if is_wrong]
    return []


def cases() -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the words of a command, the name of one of its parameters, and a bad value of it."""
    for words, command in commands(main):
        for parameter in command.params:
            if isinstance(parameter, click.Argument) or not parameter.is_flag:
                for value in bad_values(parameter.type):
                    yield words, parameter.name, value


def call(words: tuple[str, ...], name: str, value: str, file: str) -> list[str]:
    """Return the arguments of a command with a value for one parameter, and plausible ones where others are required."""
    command = main
    for word in words:
        command = command.commands[word]
    options, arguments = [], []
    for parameter in command.params:
        if parameter.name != name and not parameter.required:
            continue
        given = value if parameter.name == name else file
        if isinstance(parameter, click.Option):
            option = parameter.opts[0]
            options += [f"{option}={given}"] if option.startswith("--") else [option, given]
        else:
            arguments.append(given)
    return [*words, *options, "--", *arguments]


@pytest.mark.parametrize(("words", "name", "value"), list(cases()))
def test_bad_values(here, tmp_path, monkeypatch, words, name, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.csv").write_text("path\nx.wav\n")
    before = sorted(tmp_path.rglob("*"))
    refused = here(*call(words, name, value, "file.csv"))
    said = " ".join(refused.err.split())
    assert refused.status == 2 and not refused.out, said
    assert "Error: " in said and said.endswith(".") and "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [words for words, _ in commands(main)])
def test_unknown_options(here, words):
    refused = here(*words, "--frobnicate")
    assert refused.status == 2 and "No such option" in refused.err
