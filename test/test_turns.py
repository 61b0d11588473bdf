from __future__ import annotations

import threading

import pytest

from seg_perception.turns import Turns


def test_who_began_first_speaks_first() -> None:
    turns, said = Turns(), list[int]()
    numbers = [turns.begin() for _ in range(5)]

    def speak(number: int) -> None:
        with turns.turn(number):
            said.append(number)

    threads = [threading.Thread(target=speak, args=(number,)) for number in reversed(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert said == numbers


def test_a_turn_that_fails_ends_too() -> None:
    turns = Turns()
    first, second = turns.begin(), turns.begin()
    with pytest.raises(ValueError, match="broken"), turns.turn(first):
        raise ValueError("broken")
    with turns.turn(second):
        pass
