"""The commands that look, and change nothing: ``stage``, ``runs``, ``show``, ``compare``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial

from flows.command_line.answers import Answer, line
from flows.command_line.by_name import named_secrets
from flows.command_line.known_runs import KnownRun, known_run, listed_run
from flows.command_line.run import kept_secret
from flows.command_line.terminal import print_comparison, print_outcome, print_runs, print_survey, starting, watched_run
from flows.command_line.words import comparison_options
from flows.prefect_server import managed_prefect_api
from tasks.core.run_folder import find_run, list_runs
from tasks.core.settings import Settings, load_settings
from tasks.results.compare import compare as compare_facts
from tasks.results.facts import facts_of
from tasks.sources.registry import is_bucket_url
from tasks.steps.previous import open_run
from tasks.steps.runs import open_runs, runs_folder, visible_runs
from tasks.steps.stage import answering_source

DRIFTED = 3
"""Exit status of a comparison that found a change beyond its limit."""


def stage(options: argparse.Namespace) -> Answer:
    """``darkroom stage``: what a source holds."""
    settings = load_settings()
    named, source = options.runs or settings.runs, kept_secret(options.source)
    with named_secrets(settings, options.credentials):
        answering_source(source, (named, str(settings.home)))
        runs_folder(named, settings)  # what cannot be a place for runs is told now
        with starting() as started, managed_prefect_api(settings.home):
            from flows.staging import stage_source

            started()
            with watched_run():
                surveyed = stage_source(
                    source=source, references=options.references, runs=named, credentials=options.credentials
                )
    return Answer(surveyed, partial(print_survey, surveyed, options.references))


def runs(options: argparse.Namespace) -> Answer:
    """``darkroom runs``: every run below the runs folder."""
    settings = load_settings()
    named = options.runs or settings.runs
    with named_secrets(settings, options.credentials), visible_runs(named, settings) as place:
        known = [_placed(listed_run(folder), named, settings) for folder in list_runs(place)]
    return Answer(known, partial(print_runs, [(run.key, run.state, run.summary) for run in known]))


def show(options: argparse.Namespace) -> Answer:
    """``darkroom show``: one run."""
    settings = load_settings()
    named = options.runs or settings.runs
    with named_secrets(settings, options.credentials), visible_runs(named, settings) as place:
        known = _placed(known_run(find_run(place, options.run, named)), named, settings)
    return Answer(known, line(known.line()) if known.summary is None else partial(print_outcome, known.summary))


def _placed(known: KnownRun, named: str, settings: Settings) -> KnownRun:
    """What is known of a run, with the places where it is to be found once the look at its bucket is over."""
    if known.summary is None or not is_bucket_url(named):
        return known
    places = {"folder": runs_folder(named, settings) / known.key, "place": f"{named.rstrip('/')}/{known.key}"}
    return known.model_copy(update={"summary": known.summary.model_copy(update=places)})


def compare(options: argparse.Namespace) -> Answer:
    """``darkroom compare``: one finished run against another."""
    settings = load_settings()
    named = options.runs or settings.runs
    with named_secrets(settings, options.credentials):
        opened = open_runs(named, settings)
        with open_run(opened, options.before, named) as before, open_run(opened, options.now, named) as now:
            comparison = compare_facts(facts_of(now), facts_of(before), comparison_options(options, before.key))
    return Answer(
        asdict(comparison) | {"drifted": comparison.drifted},
        partial(print_comparison, comparison),
        DRIFTED if comparison.drifted else 0,
    )
