"""The checker of linearizability finds what is wrong, and only that."""

import math
import random
import time

from linear import ABSENT, CAS, READ, WRITE, Operation, check, explain


def op(client, kind, began, ended, value=ABSENT, expected=ABSENT, swapped=None):
    return Operation(client, "k", kind, began, ended, value, expected, swapped)


def test_what_a_register_does_is_right():
    assert explain([]) is None
    assert explain([op(1, READ, 0, 1)]) is None
    # A read that overlaps a write may see either value; later ones see the new.
    overlapping = [op(1, WRITE, 0, 9, "a"), op(2, READ, 1, 2), op(3, READ, 3, 4, "a"), op(2, READ, 5, 6, "a")]
    assert explain(overlapping) is None
    # Without an answer a write may have happened late, or never.
    lost = op(1, WRITE, 0, math.inf, "a")
    assert explain([lost, op(2, READ, 1, 2), op(2, READ, 8, 9, "a")]) is None
    assert explain([lost, op(2, READ, 1, 2), op(2, READ, 8, 9)]) is None
    swap = [op(1, WRITE, 0, 1, "a"), op(2, CAS, 2, 5, "b", "a", True), op(3, CAS, 2, 5, "c", "a", False)]
    assert explain([*swap, op(1, READ, 6, 7, "b")]) is None


def test_broken_histories_are_found():
    written = op(1, WRITE, 0, 1, "a")
    broken = {
        "a lost write": [written, op(2, READ, 2, 3)],
        "a stale read": [written, op(1, WRITE, 2, 3, "b"), op(2, READ, 4, 5, "a")],
        "time goes back": [written, op(1, WRITE, 2, 9, "b"), op(2, READ, 3, 4, "b"), op(3, READ, 5, 6, "a")],
        "a value from nowhere": [written, op(2, READ, 2, 3, "x")],
        "two swaps of one value": [
            written,
            op(2, CAS, 2, 5, "b", "a", True),
            op(3, CAS, 2, 5, "c", "a", True),
        ],
        "a swap of what is not there": [written, op(2, CAS, 2, 3, "b", "z", True)],
        "a refused swap of what is there": [written, op(2, CAS, 2, 3, "b", "a", False), op(2, READ, 4, 5, "a")],
        "read before it was written": [op(2, READ, 0, 1, "a"), op(1, WRITE, 2, 3, "a")],
    }
    for what, history in broken.items():
        assert explain(history) is not None, what
    # As in a partition: both halves go on, and the answers of one are undone.
    halves = [written, op(1, WRITE, 2, 3, "left"), op(2, WRITE, 2, 3, "right")]
    halves += [op(1, READ, 4, 5, "left"), op(2, READ, 4, 5, "right"), op(1, READ, 6, 7, "left")]
    assert check(halves).keys() == {"k"}


def simulated(seed, count, unanswered=0.001):
    """A history of eight clients on one register that takes effect at a point between call and answer."""
    dice = random.Random(seed)
    free = [0.0] * 8
    plans = []
    for number in range(count):
        client = dice.randrange(8)
        began = free[client] + dice.random()
        takes = dice.random() * 3
        point = began + dice.random() * takes
        free[client] = ended = began + takes
        plans.append((point, client, began, ended, number, dice.choice([READ, WRITE, CAS]), dice.random() < unanswered))
    state, seen, history = ABSENT, {}, []
    for _, client, began, ended, number, kind, lost in sorted(plans):
        ended = math.inf if lost else ended
        if kind == READ:
            seen[client] = state
            history.append(op(client, READ, began, ended, state))
        elif kind == WRITE:
            state = f"{number}"
            history.append(op(client, WRITE, began, ended, state))
        else:
            expected = seen.get(client, ABSENT)
            fits = state == expected
            history.append(op(client, CAS, began, ended, f"{number}", expected, None if lost else fits))
            state = f"{number}" if fits else state
    return history


def test_long_histories_are_judged_fast_and_one_wrong_read_in_them_is_found():
    began = time.process_time()
    found = 0
    for seed in range(5):
        history = simulated(seed, 2000)
        assert explain(history) is None, f"seed {seed}"
        # An operation without an answer may come at any time: each doubles the orders to try before
        # the history is known to be wrong. So there are none here.
        history = simulated(seed, 2000, unanswered=0)
        # One read, far into it, gives a value that was overwritten long before it began.
        reads = [i for i, o in enumerate(history) if o.kind == READ and o.known() and o.began > 50]
        old = {o.value for o in history if o.kind == WRITE and o.ended < 20}
        at = random.Random(seed).choice(reads)
        wrong = op(history[at].client, READ, history[at].began, history[at].ended, sorted(old)[0])
        history[at] = wrong
        found += explain(history) is not None
    assert found == 5
    print(f"\n  10 histories of 2,000 operations in {time.process_time() - began:.1f} s")
