from __future__ import annotations

import threading
import time

from seg_perception.mailbox import Mailbox


def test_the_newest_item_is_taken_and_the_older_reported_lost() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert [mailbox.put(item) for item in (1, 2, 3)] == [False, True, True]
    post = mailbox.take()
    assert post is not None
    assert post[0] == 3
    assert post[1] >= 0


def test_taking_waits_for_an_item() -> None:
    mailbox: Mailbox[str] = Mailbox()
    taken: list[object] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take()))
    reader.start()
    mailbox.put("here")
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert len(taken) == 1


def test_an_item_is_not_taken_before_its_time() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    not_before = time.monotonic() + 0.05
    assert mailbox.take(not_before) is not None
    assert time.monotonic() >= not_before


def test_closing_wakes_the_reader() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[object] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take()))
    reader.start()
    assert mailbox.close() is False
    reader.join(timeout=10)
    assert taken == [None]


def test_a_closed_mailbox_loses_what_it_held_and_what_comes() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    assert mailbox.close() is True
    assert mailbox.close() is False
    assert mailbox.put(2) is True
    assert mailbox.take() is None
