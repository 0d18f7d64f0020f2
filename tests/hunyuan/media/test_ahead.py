"""Items made ahead in a thread: the same ones, few at once, and no thread is left however it ends."""

import contextvars
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pack.hunyuan.media.ahead import Helpers, ahead

ROOT = Path(__file__).parents[3]
WHO = contextvars.ContextVar("WHO", default="nobody")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def counting(taken, until=10**9):
    for number in range(until):
        taken.append(number)
        yield number


@pytest.mark.parametrize("count", [1, 2, 5, 100])
@pytest.mark.parametrize("length", [0, 1, 4, 50])
def test_all_items_come_in_their_order(count, length):
    assert list(ahead(range(length), count)) == list(range(length))


def test_nothing_is_left_out_and_nothing_else():
    assert list(ahead([None, 0, None, None, "", False, None], 2)) == [0, "", False]


def test_no_more_items_are_ready_than_asked_for():
    taken = []
    items = ahead(counting(taken), 3)
    for number in range(4):
        assert next(items) == number
        deadline = time.monotonic() + 5
        while len(taken) < number + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert taken == list(range(number + 4))  # three that are ready, besides those handed over
    items.close()


def test_items_are_made_while_the_last_one_is_used():
    """Both sleep, which stands for work without Python: the time is about the longer one's, not the sum."""

    def slow():
        for number in range(20):
            time.sleep(0.02)
            yield number

    start = time.monotonic()
    for _ in ahead(slow(), 4):
        time.sleep(0.02)
    assert time.monotonic() - start < 0.7  # 0.42 s and some; one after the other it takes 0.8


def test_an_error_comes_as_it_was_raised_after_what_came_before_it():
    broken = ValueError("the file is damaged")

    def breaking():
        yield from range(3)
        raise broken

    items, seen = ahead(breaking(), 8), []
    with pytest.raises(ValueError, match="the file is damaged") as caught:
        seen.extend(items)
    assert caught.value is broken
    items = ahead(breaking(), 8)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()


def test_an_interrupt_passes_through():
    class Interrupted(BaseException):
        pass

    def interrupted():
        yield 1
        raise Interrupted

    with pytest.raises(Interrupted):
        list(ahead(interrupted(), 2))


def test_closing_in_the_middle_stops_the_thread_at_the_next_item():
    taken = []
    items = ahead(counting(taken), 2)
    next(items)
    items.close()
    count = len(taken)
    time.sleep(0.02)
    assert len(taken) == count <= 4


def test_closing_does_not_wait_for_an_item_that_may_never_come():
    released = threading.Event()

    def nothing_more():
        yield 0
        while True:
            released.wait(0.001)
            yield None

    items = ahead(nothing_more(), 2)
    assert next(items) == 0
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 1


def test_an_error_of_who_uses_the_items_stops_the_thread():
    def used():
        for number in ahead(counting([]), 2):
            if number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        used()


def test_the_thread_knows_what_its_maker_knows():
    WHO.set("a job")
    assert list(ahead((WHO.get() for _ in range(3)), 2)) == ["a job"] * 3


def test_items_that_nobody_wants_any_more_do_not_keep_a_program_from_ending():
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import _pack, itertools\n"
        "from hunyuan_av.hunyuan.media.ahead import ahead\n"
        "items = ahead(itertools.count(), 3)\n"
        "print(next(items))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


@pytest.mark.parametrize("count", [0, 1, 4])
def test_helpers_give_each_its_own_answer(count):
    with Helpers(count) as helpers:
        futures = [helpers.submit(divmod, 100, number) for number in range(1, 30)]
        assert [future.result() for future in futures] == [divmod(100, number) for number in range(1, 30)]


def test_what_goes_wrong_in_a_helper_is_told_where_the_answer_is_wanted():
    with Helpers(2) as helpers:
        futures = [helpers.submit(divmod, 100, number) for number in (0, 1, 2, 3, 4, 5, 6)]
        with pytest.raises(ZeroDivisionError):
            futures[0].result()
        assert futures[-1].result() == (16, 4)


def test_helpers_take_no_more_than_they_can_work_on():
    running, go_on = threading.Semaphore(0), threading.Event()

    def work(number):
        running.release()
        go_on.wait(10)
        return number

    handed_out = []
    with Helpers(2) as helpers:
        giver = threading.Thread(
            target=lambda: [handed_out.append(helpers.submit(work, number)) for number in range(20)]
        )
        giver.start()
        for _ in range(2):
            running.acquire(timeout=10)
        time.sleep(0.05)
        assert len(handed_out) <= 4
        go_on.set()
        giver.join(10)
        assert [future.result() for future in handed_out] == list(range(20))
