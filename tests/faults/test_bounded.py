"""The part of the fault suite that every run of the tests has; ``make faults`` runs all of it."""

from __future__ import annotations

from faults import damaged_inputs, kills, odd, option_files
from faults.runner import Case, Silent, run


def test_mutated_option_files_work_or_are_refused_in_one_line(tmp_path):
    report = run(option_files.cases(tmp_path, 100, seed=1))
    assert report.failures == [], "\n".join(report.failures)
    assert report.counts["refused"] > 50
    assert report.counts["accepted"] > 5


def test_damaged_inputs_are_refused_by_name_or_read_as_what_they_are(tmp_path):
    report = run(damaged_inputs.cases(tmp_path, 400, seed=1))
    assert report.failures == [], "\n".join(report.failures)
    assert report.counts["refused"] > 200
    assert report.counts["accepted"] > 20


def test_a_command_that_was_killed_goes_on_to_what_it_would_have_made(tmp_path):
    report = run(kills.cases(tmp_path, 4, seed=1))
    assert report.failures == [], "\n".join(report.failures)
    assert dict(report.counts) == {"accepted": 4}


def test_odd_surroundings_end_in_one_line_or_a_result(tmp_path):
    report = run(odd.cases(tmp_path, 8, seed=1))
    assert report.failures == [], "\n".join(report.failures)
    assert sum(report.counts.values()) == 8


def test_what_goes_wrong_is_counted(monkeypatch):
    def fail(error):
        raise error

    cases = [
        Case("a", lambda: "accepted"),
        Case("b", lambda: fail(KeyError("k"))),
        Case("c", lambda: fail(Silent("s"))),
    ]
    monkeypatch.setattr("faults.runner.SECONDS", 1)
    cases.append(Case("d", lambda: [None for _ in iter(int, 1)]))
    report = run(cases)
    assert dict(report.counts) == {"accepted": 1, "traceback": 1, "silent": 1, "hang": 1}
    assert "KeyError: 'k'" in report.failures[0]
