"""The checks on every Python that the project supports (`pip install nox`): ``nox``, or one with ``nox -s tests-3.12``.

``make test`` is what must pass; it runs on one Python. ``lint`` and ``locks`` are its own targets, so nothing is said twice.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
LOCKED = "3.11"  # the locks are for this one; on the others the newest versions that pyproject.toml allows are tried


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Every test, or those that are named: ``nox -s tests-3.13 -- tests/packaging``."""
    if session.python == LOCKED:
        session.install("--require-hashes", "-r", f"lockfiles/tool-py{LOCKED.replace('.', '')}.txt")
        session.install("--require-hashes", "-r", f"lockfiles/test-py{LOCKED.replace('.', '')}.txt")
        session.install("--no-deps", "--no-build-isolation", "--no-index", "-e", ".")
    else:
        session.install("-e", ".", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"))
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """ruff, mypy --strict, ansible-lint."""
    session.run("make", "lint", external=True)


@nox.session(python=False)
def locks(session: nox.Session) -> None:
    """Every lock is what its requirements ask for, with a hash on every line."""
    session.run("make", "venv", external=True)
    session.run(".venv/bin/provision", "lock", "--check", external=True)
