"""Every environment the project is tested in. ``nox`` runs the tests, ``nox -s lint`` the rest."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["langchain", "llama_index"]
nox.options.error_on_missing_interpreters = True

CORE = ("tests/unit", "tests/contract")


def install(session: nox.Session, *groups: str, extra: tuple[str, ...] = ()) -> None:
    """Install the workspace and some dependency groups into the session's own environment."""
    session.run_install(
        "uv",
        "sync",
        "--quiet",
        "--no-default-groups",
        *(f"--group={group}" for group in groups),
        f"--python={session.virtualenv.location}",
        *extra,
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
    )


@nox.session
def langchain(session: nox.Session) -> None:
    """The core, the LangChain adapter and the notebooks, with the clients LangChain's users have."""
    install(session, "langchain")
    session.run(
        "pytest",
        *(session.posargs or [*CORE, "tests/testing", "tests/langchain", "tests/notebooks", "tests/docs"]),
    )


@nox.session
def llama_index(session: nox.Session) -> None:
    """The core and the LlamaIndex package, with the older clients its integrations need."""
    install(session, "llama-index")
    session.run("pytest", *(session.posargs or [*CORE, "tests/testing", "tests/llama_index"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and layering."""
    install(session, "langchain", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright", f"--pythonpath={session.virtualenv.location}/bin/python")
    session.run("lint-imports")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What the handler costs, side by side with others in one run. Prints; asserts nothing."""
    install(session, "langchain")
    session.run("python", "tests/benchmarks/overhead.py", *session.posargs)
