"""The table of settings holds every variable that the code reads, and none that nobody reads."""

from __future__ import annotations

import re

import pytest

from tests.readme.document import CODE, README, ROOT, rows, section
from tests.readme.variables import Setting, settings, variables_read

OF_LIBRARIES = {
    "AWS_ACCESS_KEY_ID": "botocore",
    "AWS_SECRET_ACCESS_KEY": "botocore",
    "AWS_SESSION_TOKEN": "botocore",
    "AWS_PROFILE": "botocore",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "Prefect",
    "SSL_CERT_FILE": "OpenSSL",
}
"""Variables that the code does not ask for by name, and who does."""
MAKERS = ("Makefile", "deployments/prefect-docker.yaml")
"""Files whose variables are told where they are used."""
TABLE = {tuple(CODE.findall(names)): (default, what) for names, default, what in rows(section("Settings"), "variable")}
DOCUMENTED = [name for names in TABLE for name in names]


def words(text: str) -> list[str]:
    """The words of a text, without what sets them apart."""
    return re.findall(r"[\w/:.~-]*\w", text.lower())


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    assert len(DOCUMENTED) == len(set(DOCUMENTED))
    assert set(DOCUMENTED) - variables_read() == set(OF_LIBRARIES)
    assert variables_read() - set(DOCUMENTED) == set()


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.names[0])
def test_every_setting_is_told_as_it_describes_itself(setting: Setting) -> None:
    default, what = TABLE[setting.names]
    described = words(setting.description)
    assert words(what)[: len(described)] == described
    assert default.strip("`") == setting.default


def test_every_setting_of_our_own_is_found() -> None:
    """The search of the code finds what it should: as many fields as have aliases."""
    written = [path.read_text(encoding="utf-8") for path in (ROOT / "tasks").rglob("*.py")]
    assert len(settings()) == sum(text.count("validation_alias=") for text in written) > 10


def test_no_text_names_a_variable_that_is_not_in_the_table() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README))
    elsewhere = "".join((ROOT / file).read_text(encoding="utf-8") for file in MAKERS)
    assert [name for name in named - set(DOCUMENTED) if name not in elsewhere] == []
