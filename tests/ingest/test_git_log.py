"""The log of a repository: one passage per commit, or the reason why not."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from ifmem.domain.document import Draft, Kind, Skipped
from ifmem.ingest.git_log import read_git_log


def git(*arguments: str, at: Path, message: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Ada Example",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Bob Example",
        "GIT_COMMITTER_EMAIL": "bob@example.org",
        "GIT_AUTHOR_DATE": "2024-05-06T07:08:09+02:00",
        "GIT_COMMITTER_DATE": "2024-05-06T07:08:09+02:00",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=at,
        env=environment,
        input=message,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git("init", "-q", at=tmp_path)
    return tmp_path


def commit(message: str, at: Path) -> str:
    git("commit", "-q", "--allow-empty", "-F", "-", at=at, message=message)
    return git("rev-parse", "HEAD", at=at)


def log_of(root: Path, *, commits: int = 50) -> Draft:
    draft = read_git_log(root, commits=commits)
    assert isinstance(draft, Draft), draft
    return draft


def test_each_commit_is_a_passage_with_its_author_and_date(repository: Path) -> None:
    first = commit("Add the retry budget\n\nIt was missing.\n", repository)
    second = commit("Größe geändert", repository)
    draft = log_of(repository)
    assert draft.source == f"git+file://{repository.resolve()}#log"
    assert (draft.kind, draft.format) == (Kind.GIT_LOG, "git-log")
    newest, oldest = draft.spans
    assert [span.locator for span in draft.spans] == [second, first]
    assert newest.header == f"commit {second[:12]}"
    assert (oldest.speaker, oldest.said_at) == ("Ada Example", "2024-05-06T07:08:09+02:00")
    assert draft.text == "Größe geändert\n\nAdd the retry budget\n\nIt was missing.\n"
    assert (newest.first_line, oldest.first_line, oldest.last_line) == (1, 3, 5)


def test_only_so_many_commits_are_read_and_reading_again_changes_nothing(repository: Path) -> None:
    for number in range(5):
        commit(f"change {number}", repository)
    draft = log_of(repository, commits=2)
    assert draft.text == "change 4\n\nchange 3\n"
    assert log_of(repository, commits=2) == draft
    assert read_git_log(repository, commits=0) is None


def test_a_long_message_is_cut_and_keeps_its_commit(repository: Path) -> None:
    commit("Title\n\n" + "A sentence of the reasons. " * 200, repository)
    draft = log_of(repository)
    assert len(draft.spans) > 1
    assert len({(span.locator, span.speaker, span.header) for span in draft.spans}) == 1
    assert "".join(draft.text[span.start : span.end] for span in draft.spans) == draft.text


def test_a_credential_in_a_message_is_masked(repository: Path) -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    commit(f"Use {key}", repository)
    assert key not in log_of(repository).text
    assert log_of(repository).masked == 1


def test_a_folder_without_history_has_no_log(tmp_path: Path) -> None:
    assert read_git_log(tmp_path, commits=5) is None
    git("init", "-q", at=tmp_path)
    assert read_git_log(tmp_path, commits=5) is None


def test_settings_of_the_caller_and_the_repository_do_not_change_the_log(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit("plain", repository)
    draft = log_of(repository)
    git("config", "log.showSignature", "true", at=repository)
    git("config", "color.ui", "always", at=repository)
    git("config", "log.date", "relative", at=repository)
    git("config", "format.pretty", "oneline", at=repository)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert log_of(repository) == draft


def test_no_program_that_a_repository_names_is_run(repository: Path) -> None:
    commit("signed", repository)
    ran = repository / "ran"
    program = repository / "gpg"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    program.chmod(0o755)
    headers, _, message = git("cat-file", "commit", "HEAD", at=repository).partition("\n\n")
    mark = "PGP SIGNATURE-----"
    signed = f"{headers}\ngpgsig -----BEGIN {mark}\n \n fake\n -----END {mark}\n\n{message}\n"
    write = ("hash-object", "-w", "-t", "commit", "--stdin")
    git("update-ref", "HEAD", git(*write, at=repository, message=signed), at=repository)
    git("config", "log.showSignature", "true", at=repository)
    git("config", "gpg.program", str(program), at=repository)
    assert log_of(repository).text == "signed\n"
    assert not ran.exists()
    git("log", at=repository)
    assert ran.exists(), "git would have run it"


def test_a_repository_that_git_cannot_read_is_skipped_with_the_reason(repository: Path) -> None:
    commit("x", repository)
    (repository / ".git" / "HEAD").write_text("garbage\n")
    skipped = read_git_log(repository, commits=5)
    assert isinstance(skipped, Skipped)
    assert skipped.path.endswith("#log")
    assert skipped.reason.startswith("git log failed: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_user_says_what_to_do(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    commit("x", repository)
    for path in (repository, repository / ".git"):
        os.chown(path, 65534, 65534)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    skipped = read_git_log(repository, commits=5)
    if isinstance(skipped, Draft):
        pytest.skip("this system's settings trust every repository")
    assert isinstance(skipped, Skipped)
    assert "safe.directory" in skipped.reason


def test_a_system_without_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit("x", repository)
    monkeypatch.setenv("PATH", str(repository))
    skipped = read_git_log(repository, commits=5)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "git is not installed, so its log was not read"


def test_a_git_that_hangs_is_stopped(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit("x", repository)
    hanging = repository / "git"
    hanging.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", str(repository))
    skipped = read_git_log(repository, commits=5, timeout=timedelta(seconds=0.2))
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "git log did not end within 0.2 s"
