"""After a fork, parent and child each write what is theirs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.files import check, found
from tests.contract.processes import finish, locked, run, start

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@forks
def test_a_fork_with_entries_that_wait(path: Path) -> None:
    """Parent and child write what is theirs: each entry once."""
    process = start(
        """
        ledger = open_ledger(url)
        ledger.append(entry("before"), SCOPE)
        ledger.flush()
        print("open", flush=True)
        sys.stdin.readline()
        for number in range(200):
            ledger.append(entry(f"parent-{number}"), SCOPE)
        until(lambda: ledger.failure)
        assert ledger.pending == 200
        child = os.fork()
        if child == 0:
            assert ledger.pending == 0 and ledger.failure is None
            for number in range(200):
                ledger.append(entry(f"child-{number}"), SCOPE)
            grandchild = os.fork()
            if grandchild == 0:
                ledger.append(entry("grandchild"), SCOPE)
                ledger.flush(60)
                assert len(ledger.entries()) >= 2
                sys.exit()
            assert os.waitpid(grandchild, 0)[1] == 0
            ledger.flush(60)
            sys.exit()
        ledger.append(entry("parent-200"), SCOPE)
        print("forked", flush=True)
        assert os.waitpid(child, 0)[1] == 0
        ledger.flush(60)
        """,
        f"sqlite:///{path}?timeout=0.1",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    with locked(path):
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "forked\n"
    _, complaints = finish(process)

    assert "Traceback" not in complaints
    check(path)
    ids = found(path)
    parents = [f"parent-{number}" for number in range(201)]
    children = [f"child-{number}" for number in range(200)]
    assert [one for one in ids if one.startswith("parent")] == parents
    assert [one for one in ids if one.startswith("child")] == children
    assert Counter(ids) == Counter(["before", "grandchild", *parents, *children])


@forks
def test_forks_while_the_writer_is_busy(path: Path) -> None:
    """None of the children hangs on a lock of SQLite or of ours that a thread of the parent had."""
    _, complaints = run(
        """
        ledger = open_ledger(url)
        busy = True

        def work(name):
            number = 0
            while busy:
                ledger.append(entry(f"{name}-{number}"), ("everything",))
                number += 1
                if number % 50 == 0:
                    ledger.entries("nobody")

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        children = []
        for number in range(40):
            child = os.fork()
            if child == 0:
                for own in range(5):
                    ledger.append(entry(f"child-{number}-{own}"), ("children",))
                ledger.flush(60)
                os._exit(0)
            children.append(child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        busy = False
        for thread in threads:
            thread.join()
        ledger.flush(60)
        assert len(ledger.entries("children")) == 200
        """,
        f"sqlite:///{path}?timeout=30",
    )
    assert complaints == ""
    check(path)


@forks
def test_a_fork_while_another_thread_opens_a_ledger(path: Path) -> None:
    run(
        """
        from apeiros_callbacks.ledger import lifecycle

        ledger = open_ledger(url)
        lifecycle._lock.acquire()
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            open_ledger(url + "2").close()
            ledger.close()
            sys.exit()
        lifecycle._lock.release()
        assert os.waitpid(child, 0)[1] == 0
        """,
        f"sqlite:///{path}",
    )


@forks
def test_a_child_that_uses_nothing_ends_at_once_and_leaves_the_parent_its_file(path: Path) -> None:
    run(
        """
        ledger = open_ledger(url)
        ledger.append(entry("r1"), SCOPE)
        ledger.flush()
        child = os.fork()
        if child == 0:
            threads = threading.active_count()
            ledger.flush()
            assert threading.active_count() == threads == 1
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        assert os.path.getsize(url.removeprefix("sqlite:///") + "-wal")
        ledger.append(entry("r2"), SCOPE)
        ledger.close()
        """,
        f"sqlite:///{path}",
    )
    assert found(path) == ["r1", "r2"]


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=forks), pytest.param("forkserver", marks=forks), "spawn"]
)
def test_a_process_of_multiprocessing_that_just_ends(path: Path, method: str) -> None:
    _, complaints = run(
        """
        import multiprocessing
        from tests.contract.processes import append_many

        method = sys.argv[2]
        ledger = open_ledger(url)
        ledger.append(entry("parent"), SCOPE)
        context = multiprocessing.get_context(method)
        inherited = ledger if method == "fork" else None
        workers = [context.Process(target=append_many, args=(url, name, inherited)) for name in "ab"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
        """,
        f"sqlite:///{path}",
        method,
    )
    assert complaints == ""
    names = ["parent", *(f"{name}-{number}" for name in "ab" for number in range(300))]
    assert Counter(found(path)) == Counter(names)
