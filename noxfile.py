"""Every environment the project is tested in. ``nox`` runs the tests, ``nox -s lint`` the rest."""

from pathlib import Path

import nox
import nox.command

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["langchain", "oldest", "newest", "bare", "llama_index", "llama_index_oldest"]
nox.options.error_on_missing_interpreters = True

CORE = ("tests/unit", "tests/contract", "tests/testing", "tests/commands")
# What a version of LangChain can change: where it calls, when it ends, what it hands on.
VERSIONED = tuple(
    f"tests/langchain/test_{name}.py"
    for name in ("scenario", "recording", "endings", "lives", "aborts", "decisions", "blocking", "table")
)
VERSIONED_LLAMA_INDEX = tuple(
    f"tests/llama_index/test_{name}.py"
    for name in ("scenario", "recording", "endings", "placing", "wrapper", "embeddings", "blocking")
)
OURS = ("-e.", "-eintegrations/langchain-apeiros")
OURS_LLAMA_INDEX = ("-e.", "-eintegrations/llama-index-callbacks-apeiros")
SIDE_BY_SIDE = ("-n2", "--dist=loadscope")


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
    own = ("langchain", "race", "kill", "parity", "notebooks", "docs")
    session.run(
        "pytest", *SIDE_BY_SIDE, *(session.posargs or [*CORE, *(f"tests/{folder}" for folder in own)])
    )


@nox.session
def oldest(session: nox.Session) -> None:
    """The oldest versions that the project says it works with."""
    session.install("--resolution=lowest-direct", "--group=langchain", *OURS)
    versioned(session)


@nox.session
def newest(session: nox.Session) -> None:
    """The newest versions, where they can be had together."""
    # langchain-core 1.8.2 asks for a certifi that not every index has yet; it runs with any.
    override = session.create_tmp() + "/override.txt"
    Path(override).write_text("certifi>=2024\n")
    newest = ("langchain-core>=1.8.2", "langchain>=1.5", "langgraph>=1.2.22")
    try:
        session.install("--override", override, "--group=langchain", *newest, *OURS)
    except nox.command.CommandFailed:
        session.skip(f"{', '.join(newest)} cannot be installed together from this index")
    versioned(session)


def versioned(session: nox.Session) -> None:
    """Say which versions there are, and run what depends on them."""
    session.run("python", "tests/versions.py")
    # Of the long table one client says enough here.
    session.run(
        "pytest", *SIDE_BY_SIDE, "-k", "not (test_table and anthropic)", *(session.posargs or VERSIONED)
    )


@nox.session
def bare(session: nox.Session) -> None:
    """The handler with langchain-core alone: neither langchain nor langgraph."""
    session.install(*OURS, "--group=test", "langchain-openai>=1.7")
    session.run("python", "tests/versions.py")
    session.run("pytest", "tests/langchain/test_bare.py")


@nox.session
def llama_index(session: nox.Session) -> None:
    """The LlamaIndex adapter and its notebook, with the older clients that its integrations need."""
    install(session, "llama-index")
    # Of the core what these clients and the tokenizer files of llama-index-core can change.
    core = ("tests/testing", "tests/unit/test_tokens_real_files.py")
    own = ("tests/llama_index", "tests/parity", "tests/notebooks")
    session.run("pytest", *SIDE_BY_SIDE, *(session.posargs or [*core, *own]))


@nox.session
def llama_index_oldest(session: nox.Session) -> None:
    """The oldest llama-index-core that the project says it works with."""
    session.install("--resolution=lowest-direct", "--group=llama-index", *OURS_LLAMA_INDEX)
    session.run("python", "tests/versions.py")
    # Of the long table one client says enough here.
    session.run("pytest", *SIDE_BY_SIDE, "-k", "not anthropic", *(session.posargs or VERSIONED_LLAMA_INDEX))


@nox.session
def long(session: nox.Session) -> None:
    """The long forms: races of eight processes, kill -9 at any moment, each ledger against a model."""
    install(session, "langchain")
    session.run(
        "pytest",
        "-s",
        "tests/race",
        "tests/kill",
        "tests/contract/test_state_machine.py",
        *session.posargs,
        env={"APEIROS_LONG": "1"},
    )


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
def lint_llama_index(session: nox.Session) -> None:
    """The types of the LlamaIndex adapter, whose environment is its own."""
    install(session, "llama-index", "lint")
    session.run("mypy", "-p", "llama_index.callbacks.apeiros")
    python = f"{session.virtualenv.location}/bin/python"
    session.run("pyright", "-p", "integrations/llama-index-callbacks-apeiros", f"--pythonpath={python}")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What the handler costs, side by side with others in one run. Prints; asserts nothing."""
    install(session, "langchain")
    session.run("python", "tests/benchmarks/overhead.py", *session.posargs)
    session.run("python", "tests/benchmarks/shared.py")


@nox.session
def benchmarks_llama_index(session: nox.Session) -> None:
    """The same in LlamaIndex."""
    install(session, "llama-index")
    session.run("python", "tests/benchmarks/llama_index_overhead.py", *session.posargs)
