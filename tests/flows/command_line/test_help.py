"""One style for the help of every command, those that become other processes among them."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import pytest

from deployments.batch_server import __main__ as server_process
from deployments.setup import __main__ as setup_process
from deployments.webhooks import __main__ as webhooks_process
from flows.cli import main
from flows.command_line.arguments import PROCESSES, build_parser, parse
from flows.command_line.commands import COMMANDS

ROOT_PARSER, PLACES = build_parser()
PROCESS_PARSERS: dict[str, argparse.ArgumentParser] = {
    "server": server_process._parser(),
    "setup": setup_process._parser(),
    "webhooks": webhooks_process._parser(),
}
OWN: dict[str, argparse.ArgumentParser] = {name: place for name, place in PLACES.items() if name not in PROCESSES}
PARSERS = OWN | PROCESS_PARSERS


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The examples as the help shows them."""
    told = parser.format_help().partition("\nexample:\n")[2]
    return [line.strip() for line in told.splitlines()]


def nothing(_options: Any) -> None:
    """Carries nothing out."""


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_help_has_a_description_and_examples_that_parse(name: str) -> None:
    parser = PARSERS[name]
    assert parser.prog == f"darkroom {name}"
    assert (parser.description or "").endswith(".")
    shown = examples(parser)
    assert shown
    for example in shown:
        program, *words = shlex.split(example.partition(" > ")[0])
        assert (program, words[0]) == ("darkroom", name)
        parse(words, dict.fromkeys(COMMANDS, nothing))
        parser.parse_args(words[1:])


def test_help_of_the_program_names_every_command_in_one_line() -> None:
    told = ROOT_PARSER.format_help()
    assert list(PLACES) == list(COMMANDS)
    helps = {action.dest: action.help or "" for action in _commands()}
    assert list(helps) == list(COMMANDS)
    for name, text in helps.items():
        assert f"    {name} " in told
        assert text and len(text) < 80 and not text.endswith(".")
    for example in examples(ROOT_PARSER):
        assert example.startswith("darkroom run ")


def _commands() -> list[argparse.Action]:
    assert ROOT_PARSER._subparsers is not None
    (places,) = ROOT_PARSER._subparsers._group_actions
    assert isinstance(places, argparse._SubParsersAction)
    return list(places._get_subactions())


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_every_option_is_explained(name: str) -> None:
    unexplained = [action.dest for action in PARSERS[name]._actions if not action.help]
    assert unexplained == []


@pytest.mark.parametrize("name", sorted(set(OWN) - {"completion"}))
def test_every_command_that_prints_prints_for_machines_too(name: str) -> None:
    assert "--json" in [flag for action in OWN[name]._actions for flag in action.option_strings]


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out == ROOT_PARSER.format_help()


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "darkroom 0.1.0\n"


def test_wrong_word_ends_with_one_line_after_the_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["runs", "--rnus", "x"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    usage, last = told.err.splitlines()
    assert usage == "usage: darkroom runs [-h] [--runs PLACE] [--credentials BLOCK] [--json]"
    assert last == "darkroom runs: there is no option --rnus: did you mean --runs?"
