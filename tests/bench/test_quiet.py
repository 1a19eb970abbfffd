from __future__ import annotations

from bench.quiet import CPUShare, busy_process, own_cpu_seconds, wait_until_quiet


def test_waits_until_others_are_quiet() -> None:
    samples = iter([0.5, 0.2, 0.04, 0.9])
    clock = iter([0.0, 1.0, 2.0, 3.0])
    assert wait_until_quiet(60.0, lambda: next(samples), lambda: next(clock)) == (3.0, True)
    assert next(samples) == 0.9


def test_does_not_wait_for_ever() -> None:
    clock = iter([0.0, 5.0, 11.0])
    assert wait_until_quiet(10.0, lambda: 0.5, lambda: next(clock)) == (11.0, False)


def test_the_busy_process_is_ours_and_ends() -> None:
    share = CPUShare.start()
    before = own_cpu_seconds()
    with busy_process():
        used = own_cpu_seconds()
        while own_cpu_seconds() < used + 0.05:
            pass
        assert own_cpu_seconds() > before
        assert 0.0 <= share.of_others() <= 1.01
