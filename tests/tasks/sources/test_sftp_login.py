from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.core.errors import BadInput
from tasks.sources.sftp import open_sftp
from tests.tasks.sources.sftp_host import *  # noqa: F403
from tests.tasks.sources.sftp_host import Host, first, new_key


def test_password_opens(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.fill("a.jpg")
    monkeypatch.delenv("DARKROOM_SFTP_KEY")
    monkeypatch.setenv("DARKROOM_SFTP_PASSWORD", "geheim")
    for user in ("ann@", "ann@acme@", "ann%40acme@"):
        assert first(open_sftp(host.url("/", user)))
    for user, password in (("ann@", "falsch"), ("bob@", "geheim")):
        monkeypatch.setenv("DARKROOM_SFTP_PASSWORD", password)
        with pytest.raises(
            BadInput, match=rf"does not let {user[:-1]} in with the password in DARKROOM_SFTP_P"
        ) as caught:
            first(open_sftp(host.url("/", user)))
        assert password not in str(caught.value)


def test_key_may_be_locked(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "locked"
    with (host.folder / "authorized_keys").open("a") as file:
        file.write(new_key(key, "open sesame") + "\n")
    monkeypatch.setenv("DARKROOM_SFTP_KEY", str(key))
    with pytest.raises(BadInput, match=r"locked: set DARKROOM_SFTP_PASSWORD"):
        first(open_sftp(host.url("/")))
    monkeypatch.setenv("DARKROOM_SFTP_PASSWORD", "falsch")
    with pytest.raises(BadInput, match=r"DARKROOM_SFTP_PASSWORD is not its passphrase"):
        first(open_sftp(host.url("/")))


def test_key_that_cannot_be_used_is_bad_input(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(tmp_path / "stranger")
    (tmp_path / "text").write_text("no key")
    for name, says in (
        ("stranger", "does not let ann in with the key in DARKROOM_SFTP_KEY"),
        ("text", "no private key"),
    ):
        monkeypatch.setenv("DARKROOM_SFTP_KEY", str(tmp_path / name))
        with pytest.raises(BadInput, match=says):
            first(open_sftp(host.url("/")))
    monkeypatch.setenv("DARKROOM_SFTP_KEY", "~/none")
    with pytest.raises(BadInput, match=r"DARKROOM_SFTP_KEY: .*home/none cannot be read: No such file"):
        first(open_sftp(host.url("/")))


def test_keys_of_the_user_are_tried(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.fill("a.jpg")
    monkeypatch.delenv("DARKROOM_SFTP_KEY")
    with pytest.raises(BadInput, match=r"does not let ann in with any key of the SSH agent or ~/.ssh"):
        first(open_sftp(host.url("/")))
    keys = Path.home() / ".ssh"
    keys.mkdir()
    (keys / "id_ed25519").write_bytes((host.folder / "user_key").read_bytes())
    assert first(open_sftp(host.url("/")))


def test_config_of_the_user_is_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.fill("a.jpg")
    monkeypatch.delenv("DARKROOM_SFTP_KEY")
    config = Path.home() / ".ssh/config"
    config.parent.mkdir()
    config.write_text(
        f"Host photos\n HostName 127.0.0.1\n Port {host.port}\n User ann\n IdentityFile {host.folder}/user_key\n"
        f" IdentityFile {host.folder}/none\nHost far\n ProxyJump gate\nHost direct\n ProxyJump none\n"
    )
    assert first(open_sftp("sftp://photos/"))
    with pytest.raises(BadInput, match=r"proxyjump for far, .* ssh -N -L 2222:far:22 JUMPHOST"):
        first(open_sftp("sftp://far/"))
    config.write_text("nonsense\n")
    with pytest.raises(BadInput, match=r"ssh/config cannot be used to find photos"):
        first(open_sftp("sftp://photos/"))


def test_server_must_be_known(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = f"ssh-keyscan -p {host.port} 127.0.0.1 >> "
    monkeypatch.delenv("DARKROOM_SFTP_KNOWN_HOSTS")
    with pytest.raises(BadInput, match=rf"not in .*/home/.ssh/known_hosts \(SHA256:.*{scan}.*known_hosts"):
        first(open_sftp(host.url("/")))
    monkeypatch.setenv("DARKROOM_SFTP_KNOWN_HOSTS", str(tmp_path))
    with pytest.raises(BadInput, match=r"DARKROOM_SFTP_KNOWN_HOSTS: .* cannot be read: Is a directory"):
        first(open_sftp(host.url("/")))


def other_keys() -> str:
    """A key of another kind, and one of the same."""
    ecdsa = ec.generate_private_key(ec.SECP256R1()).public_key()
    return ecdsa.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("{name} {key}", ""),
        ("# c\n\nx\n{name} ssh-rsa !!!\n@cert-authority * ssh-rsa AAAA\n{other},{name}\t{key}  a comment", ""),
        ("{hashed} {key}", ""),
        ("[127.0.0.?]:* {key}", ""),
        ("{name} {wrong}\n{name} {key}", ""),
        ("{name} {of_another_kind}\n{name} {key}", ""),
        ("{name} {wrong}", "another key than"),
        ("{name} {of_another_kind}", "another key than"),
        ("[127.0.0.?]:*,!{name} {key}", "shows a key that is not in"),
        ("{other} {key}", "shows a key that is not in"),
        ("|1|x {key}\n|1|AAAA|AAAA {key}", "shows a key that is not in"),
        ("@revoked * {key}\n{name} {key}", "shows a key that is not in"),
    ],
)
def test_server_is_known_by_its_key(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, says: str
) -> None:
    host.fill("a.jpg")
    name = f"[127.0.0.1]:{host.port}"
    fields = {
        "name": name,
        "hashed": paramiko.HostKeys.hash_host(name),
        "other": "[127.0.0.2]:22",
        "key": host.host_public,
        "wrong": new_key(tmp_path / "other"),
        "of_another_kind": other_keys(),
    }
    known_hosts = tmp_path / "known"
    known_hosts.write_text(lines.format(**fields) + "\n")
    monkeypatch.setenv("DARKROOM_SFTP_KNOWN_HOSTS", str(known_hosts))
    if not says:
        assert first(open_sftp(host.url("/")))
        return
    with pytest.raises(BadInput, match=rf"{says} .*ssh-keyscan -p {host.port} 127.0.0.1"):
        first(open_sftp(host.url("/")))
