"""Whose signature counts, with real keys: the user's file decides, and nothing that comes with the bundle."""

from __future__ import annotations

import base64
import errno
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.bundle import signing
from provision.errors import UsageError
from provision.payload.bundle import layout, manifest, signature
from provision.payload.bundle.errors import Misused, NotDone, Refused
from provision.payload.bundle.verify import verify
from tests.bundle.build import FILES, Keys, make_key, write

KINDS = {"ed25519": ("-t", "ed25519"), "rsa": ("-t", "rsa", "-b", "2048"), "ecdsa": ("-t", "ecdsa")}


def refused(path: Path, signers: Path, identity: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        verify(path, signers, identity)
    return caught.value.message


def signed(rebuilt: Callable[..., Path], armoured: bytes) -> Path:
    """The good bundle with another signature in it."""

    def change(members: dict[str, bytes]) -> None:
        name = manifest.SIGNATURE_NAME
        members[name] = layout.header(name, len(armoured)) + layout.padded(armoured)

    return rebuilt(change)


def manifest_of(good: Path) -> bytes:
    with good.open("rb") as file:
        file.seek(512)
        return file.read(int(good.read_bytes()[124:135], 8))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_signs_and_is_recognised(kind: str, tmp_path: Path) -> None:
    key = make_key(tmp_path / kind, *KINDS[kind])
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{kind}@site {key.with_suffix('.pub').read_text()}")
    path = write(tmp_path / "site.bundle", key, FILES)
    assert verify(path, trusted).signer.identity == f"{kind}@site"
    again = write(tmp_path / "again.bundle", key, FILES)
    same = path.read_bytes() == again.read_bytes()
    assert same == (kind != "ecdsa") == signing.repeatable(signing.sign(key, b""))


def test_a_strangers_signature_is_refused(tmp_path: Path, keys: Keys) -> None:
    path = write(tmp_path / "site.bundle", keys / "stranger", FILES)
    said = refused(path, keys.allowed)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", keys / "stranger"], capture_output=True, text=True, check=True)
    assert "does not list for anybody" in said and listed.stdout.split()[1] in said


def test_only_the_identity_that_was_asked_for_counts(good: Path, keys: Keys, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.write_text(keys.allowed.read_text() + f"other@site {(keys / 'stranger.pub').read_text()}")
    assert verify(good, both, "me@site").signer.identity == "me@site"
    assert "does not list for other@site" in refused(good, both, "other@site")
    assert "does not list for nobody" in refused(good, both, "nobody")


def test_the_options_of_the_users_file_hold(good: Path, keys: Keys, tmp_path: Path) -> None:
    """ALLOWED SIGNERS of ssh-keygen(1): a key for another purpose, or of another time, does not count."""
    public = (keys / "me.pub").read_text()
    trusted = tmp_path / "trusted"
    for options, counts in (
        ('namespaces="provision-bundle,git"', True),
        ('namespaces="git"', False),
        ('valid-before="20200101"', False),
        ('valid-after="20200101"', True),
    ):
        trusted.write_text(f"me@site {options} {public}")
        if counts:
            assert verify(good, trusted).signer.identity == "me@site"
        else:
            assert "does not list" in refused(good, trusted)
    trusted.write_text(f"*@site {public}")
    assert verify(good, trusted, "anybody@site").signer.identity == "anybody@site"
    trusted.write_text("no such format\n")
    assert "does not list" in refused(good, trusted)


def test_a_signature_of_something_else_is_refused(good: Path, keys: Keys, rebuilt: Callable[..., Path]) -> None:
    assert "no signature of this manifest.json" in refused(
        signed(rebuilt, signing.sign(keys.me, b"other")), keys.allowed
    )


def test_a_signature_for_another_purpose_is_refused(good: Path, keys: Keys, rebuilt: Callable[..., Path]) -> None:
    """The same key signs commits: such a signature must not pass for a bundle's."""
    command = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", keys.me]
    armoured = subprocess.run(command, input=manifest_of(good), capture_output=True, check=True).stdout
    assert "a signature for git, not for provision-bundle" in refused(signed(rebuilt, armoured), keys.allowed)


def test_a_missing_or_malformed_signature_is_refused(good: Path, keys: Keys, rebuilt: Callable[..., Path]) -> None:
    right = signing.sign(keys.me, manifest_of(good))
    assert verify(signed(rebuilt, right), keys.allowed)
    lines = right.decode().split("\n")
    wrong = {
        "empty": b"",
        "text": b"trust me\n",
        "PGP": right.replace(b"SSH", b"PGP"),
        "CRLF": right.replace(b"\n", b"\r\n"),
        "a blank more": right + b"\n",
        "other columns": ("\n".join([lines[0], "".join(lines[1:-2]), *lines[-2:]])).encode(),
        "a text before": b"hello\n" + right,
        "two": right + right,
        "cut": right[: len(right) // 2],
        "not ASCII": right.replace(b"\n", "\u00e9\n".encode(), 1),
    }
    for what, armoured in wrong.items():
        said = refused(signed(rebuilt, armoured), keys.allowed)
        assert "manifest.json.sig: it is no signature that ssh-keygen -Y sign makes" in said, what

    def gone(members: dict[str, bytes]) -> None:
        del members[manifest.SIGNATURE_NAME]

    assert "manifest.json.sig" in refused(rebuilt(gone), keys.allowed)


def test_the_last_bits_of_base64_cannot_be_played_with(tmp_path: Path) -> None:
    """Characters before the padding carry bits that no decoder looks at: such a twin is another spelling, and refused."""
    padded = 0
    for kind, options in KINDS.items():
        right = signing.sign(make_key(tmp_path / kind, *options), b"data").decode()
        at = right.rindex("\n-----END") - 1
        if right[at] != "=":
            continue
        while right[at] == "=":
            at -= 1
        for c in set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") - {right[at]}:
            twin = right[:at] + c + right[at + 1 :]
            body = [base64.b64decode("".join(one.split("\n")[1:-2])) for one in (right, twin)]
            if body[0] == body[1]:
                padded += 1
                with pytest.raises(Refused):
                    signature.parse(twin.encode())
    assert padded, "no kind of key has a signature with padding: nothing was tested"


# --- where trust comes from -------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of nobody in particular: no trust from the one who runs the tests."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_without_any_file_nobody_is_trusted(good: Path, home: Path) -> None:
    with pytest.raises(Misused) as caught:
        verify(good)
    assert "nobody is trusted yet" in caught.value.message and caught.value.exit_code == 2


def test_the_usual_file_then_gits_then_the_given_one(good: Path, keys: Keys, home: Path, tmp_path: Path) -> None:
    public, stranger = (keys / "me.pub").read_text(), (keys / "stranger.pub").read_text()
    (home / ".ssh/allowed_signers").write_text(f"usual {public}")
    assert verify(good).signer.identity == "usual"
    (home / "of-git").write_text(f"of-git {public}")
    (home / ".gitconfig").write_text('[gpg "ssh"]\n\tallowedSignersFile = ~/of-git\n')
    assert verify(good).signer.identity == "of-git"
    (home / "of-git").write_text(f"stranger {stranger}")
    with pytest.raises(Refused):  # the nearest file decides alone
        verify(good)
    assert verify(good, keys.allowed).signer.identity == "me@site"


def test_an_empty_identity_is_nobody(good: Path, keys: Keys) -> None:
    with pytest.raises(Refused, match="does not list for ''"):
        verify(good, keys.allowed, "")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('[gpg "ssh"]\n\tallowedSignersFile = beside\n', "must be said by an absolute path"),
        ('[gpg "ssh"\n', "git cannot say whom to trust"),
    ],
)
def test_another_list_than_the_users_never_decides(
    good: Path, keys: Keys, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, says: str
) -> None:
    for place in (tmp_path / "beside", home / ".ssh/allowed_signers"):
        place.write_bytes(keys.allowed.read_bytes())
    monkeypatch.chdir(tmp_path)
    (home / ".gitconfig").write_text(setting)
    with pytest.raises(Misused, match=says):
        verify(good)


def test_a_machine_without_room_for_the_signature_is_not_the_bundles_fault(
    good: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(NotDone, match="needs a temporary folder"):
        verify(good, keys.allowed)


def test_programs_that_may_not_be_entered_are_not_there(
    good: Path, keys: Keys, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "git")

    (home / ".ssh/allowed_signers").write_bytes(keys.allowed.read_bytes())
    monkeypatch.setattr(subprocess, "run", closed)
    with pytest.raises(NotDone, match="ssh-keygen is not installed"):
        verify(good)


def test_a_repository_that_came_along_is_not_asked(
    keys: Keys, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A medium with a bundle, a repository whose configuration trusts the stranger, and his file beside it."""
    medium = tmp_path / "medium"
    subprocess.run(["git", "init", "--quiet", medium], check=True)
    path = write(medium / "site.bundle", keys / "stranger", FILES)
    (medium / "allowed_signers").write_text(f"me@site {(keys / 'stranger.pub').read_text()}")
    setting = ["git", "-C", medium, "config", "gpg.ssh.allowedSignersFile", medium / "allowed_signers"]
    subprocess.run(setting, check=True)
    monkeypatch.chdir(medium)
    with pytest.raises(Misused):
        verify(path)
    (home / ".ssh/allowed_signers").write_text(f"me@site {(keys / 'me.pub').read_text()}")
    with pytest.raises(Refused):
        verify(path)


def test_a_file_that_cannot_be_read_is_a_wrong_call(good: Path, home: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(Misused) as caught:
            verify(good, path)
        assert str(path) in caught.value.message
    (home / ".gitconfig").write_text('[gpg "ssh"]\n\tallowedSignersFile = ~/gone\n')
    with pytest.raises(Misused, match="git's"):
        verify(good)


def test_without_ssh_keygen_it_says_what_to_install(good: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotDone) as caught:
        verify(good, keys.allowed)
    assert (caught.value.exit_code, caught.value.next_command) == (4, "apt-get install openssh-client")


# --- signing ----------------------------------------------------------------------------------------------------------


def test_a_key_that_does_not_sign_is_a_wrong_call(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    text = tmp_path / "text"
    text.write_text("not a key\n")
    for path in (tmp_path / "nothing", text, tmp_path):
        with pytest.raises(UsageError) as caught:
            signing.sign(path, b"data")
        assert str(path) in caught.value.message


def test_a_public_key_signs_through_the_agent(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret half may be where no file is: in an agent, a token."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert agent.stdout and b"SSH_AUTH_SOCK" in agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", keys.me], check=True)
        public = tmp_path / "me.pub"
        public.write_text((keys / "me.pub").read_text())
        assert signing.sign(public, b"data") == signing.sign(keys.me, b"data")
    finally:
        agent.terminate()
        agent.communicate()


def test_names_in_a_signature_cannot_act_on_a_terminal(keys: Keys) -> None:
    with pytest.raises(Refused) as caught:
        signature.parse(subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-n", "\x1b[2J", "-f", keys.me], input=b"", capture_output=True, check=True
        ).stdout)  # fmt: skip
    assert "\x1b" not in caught.value.message
