"""What is open or brings its own code: checkpoints, ports, token files, package sources."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, check
from provision.checks._words import all_models, counted, listed
from provision.fact import Missing
from provision.facts.daemons import Daemons
from provision.facts.exposure import Firewall, SecretFiles
from provision.facts.listeners import Listeners
from provision.facts.models import ModelFiles
from provision.facts.native import PipSettings

_SHOWN = 3


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - _SHOWN
    return listed([*names[:_SHOWN], *([f"{rest} more"] if rest > 0 else [])])


@check("ISO050", WARNING, cause="unsafe-checkpoint")
def checkpoint_in_pickle_format(files: ModelFiles) -> Iterator[Finding]:
    """A checkpoint is in Python's pickle format, and there is no safetensors file beside it.

    Loading a pickle runs whatever its maker put into it. torch 2.6 and newer load only tensors unless told otherwise
    (`weights_only`), and that wall has had holes (CVE-2025-32434 in torch up to 2.5.1). safetensors holds numbers only.

    ## Fix
    Take the model's safetensors files, or convert it once on a machine that holds nothing.

    ## Proof
    ISO-P1: the container runs as nobody special, cannot change itself, and has no way out.
    """
    for folder in all_models(files, whole=True):
        if folder.pickles:
            yield Finding(
                f"{counted(len(folder.pickles), 'checkpoint')} in pickle format in {folder.path}: {_some(folder.pickles)}",
                measured={"pickles": list(folder.pickles), "all_seen": folder.whole},
                needed={"pickles": []},
                fix=("hf download MODEL --include '*.safetensors'",),
            )


@check("ISO051", NOTE, cause="remote-code")
def model_brings_its_own_code(files: ModelFiles) -> Iterator[Finding]:
    """A model asks to run Python code of its own.

    Its config.json names classes that come with the model (`auto_map`). They run only with `trust_remote_code`, and then
    with everything that the engine may do. A model that is updated brings new code with it.

    ## Fix
    Read the code and fix the revision that was read (`--revision`, `--code-revision`); run it in a container without a
    network. Many models need it no longer: current transformers know them.

    ## Proof
    ISO-P1: the container runs as nobody special, cannot change itself, and has no way out.
    """
    for folder in all_models(files, whole=True):
        if folder.remote_code:
            yield Finding(
                f"{counted(len(folder.remote_code), 'model')} in {folder.path} name code to be run: {_some(folder.remote_code)}",
                measured={"configs": list(folder.remote_code)},
                needed={"configs": []},
                fix=(f"grep -l auto_map $(find {folder.path} -name config.json)",),
            )


@check("ISO052", WARNING, cause="engine-port-exposed")
def engine_port_open_to_everybody(listeners: Listeners, firewall: Firewall | Missing) -> Iterator[Finding]:
    """A port that inference engines use is open on every address.

    Engines come without a password: who reaches the port reads models, spends GPU time, and with some endpoints reads
    files or other people's requests. Internet-wide scans find thousands of them.

    ## Fix
    Let the engine listen on this machine only (`--host 127.0.0.1`) behind a gateway that knows its users, or filter the port.

    ## Proof
    ISO-P1: the container has no way out; what listens on the machine is read again by `provision doctor --select ISO052`.
    """
    rows = {row.port: row for row in tables.ports() if not row.harmful}
    opened = [one.port for one in listeners.listeners if one.reach == "all" and one.port in rows]
    filtered = isinstance(firewall, Firewall) and firewall.kinds
    for port in opened:
        guard = (
            f"; {listed(firewall.kinds)} is set up and may filter it"
            if isinstance(firewall, Firewall) and filtered
            else ""
        )
        yield Finding(
            f"port {port}, {rows[port].program}, is open on every address{guard}",
            measured={"port": port},
            needed={"address": "127.0.0.1"},
            fix=(f"ss -ltnp 'sport = :{port}'   # who it is; then --host 127.0.0.1",),
            certainty="possible" if filtered else "likely",
            tell_apart=(f"ss -ltnp 'sport = :{port}'", f"curl http://ADDRESS:{port}/   # from another machine"),
        )


@check("ISO053", ERROR, cause="engine-port-exposed")
def control_port_open_to_everybody(listeners: Listeners, daemons: Daemons) -> Iterator[Finding]:
    """A port through which anybody can run code is open on every address.

    Ray's dashboard takes jobs from whoever reaches it, by design (CVE-2023-48022, which has been used against clusters);
    its head node and torch's rendezvous are for trusted networks only.

    ## Fix
    Bind it to this machine or to the cluster's own network (`ray start --dashboard-host 127.0.0.1`), and filter the port.

    ## Proof
    None of its own: `provision doctor --select ISO053` looks again.
    """
    running = {one.name for one in daemons.running}
    for row in tables.ports():
        found = [one for one in listeners.listeners if one.port == row.port and one.reach == "all"]
        if row.harmful and found:
            ray = bool(running & {"raylet", "gcs_server"})
            yield Finding(
                f"port {row.port}, {row.program}, is open on every address",
                measured={"port": row.port, "ray_runs": ray},
                needed={"address": "127.0.0.1"},
                fix=(f"ss -ltnp 'sport = :{row.port}'",),
                certainty="certain" if ray and row.program.startswith("Ray") else "possible",
                tell_apart=() if ray and row.program.startswith("Ray") else (f"ss -ltnp 'sport = :{row.port}'",),
            )


@check("ISO054", WARNING, cause="secret-file-readable")
def secret_file_readable_by_all(files: SecretFiles) -> Iterator[Finding]:
    """A file that holds tokens can be read by every account of the machine.

    Permissions alone are looked at; the content is not read. A token in it opens private models, registries or a cloud.

    ## Fix
    `chmod 600` the file, and replace the token if others have accounts here.

    ## Proof
    None of its own: `provision doctor --select ISO054` looks again.
    """
    for one in files.files:
        if one.mode & 0o004 and one.reachable:
            yield Finding(
                f"{one.path} can be read by everybody (mode {one.mode:04o})",
                measured={"path": one.path, "mode": f"{one.mode:04o}"},
                needed={"mode": "0600"},
                fix=(f"chmod 600 {one.path}",),
            )


@check("ISO062", NOTE, cause="package-source-open")
def packages_from_several_indexes(pip: PipSettings) -> Iterator[Finding]:
    """pip takes packages from whichever index has the highest version.

    With `extra-index-url` all indexes are asked and the newest version wins, wherever it lies: a package of your own name
    on the public index is taken instead of yours. `trusted-host` switches the check of certificates off. Hashes in a lock
    close both.

    ## Fix
    One index that mirrors the others, or `pip install --require-hashes -r LOCK`.

    ## Proof
    DEP-P1: what is installed in the image is the lock, every file by its hash.
    """
    for one in pip.files:
        parts = [
            *([counted(one.extra_indexes, "further index", "further indexes")] if one.extra_indexes else []),
            *(
                [counted(one.trusted_hosts, "host without certificate check", "hosts without certificate check")]
                if one.trusted_hosts
                else []
            ),
        ]
        if parts:
            yield Finding(
                f"pip's settings ({one.path}) name {listed(parts)}",
                measured={"extra_indexes": one.extra_indexes, "trusted_hosts": one.trusted_hosts},
                needed={"extra_indexes": 0, "trusted_hosts": 0},
                fix=("python3 -m pip config debug",),
            )
