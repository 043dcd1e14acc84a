"""A checker of linearizability for registers with compare-and-swap, and the clients that make histories.

Source: Wing and Gong 1993, with the memory of visited states by Lowe 2017 (as in Knossos and Porcupine).
Linearizability is local: a history of many keys is right exactly if the history of each key is. So each key
is checked alone: is there an order of its operations that a single register would explain, in which no
operation comes before one that had ended when it began?

An operation without an answer may have happened at any time from when it began, or never.
"""

import dataclasses
import math

WRITE, READ, CAS = "write", "read", "cas"
ABSENT = None


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call of a client. Times are of one clock; `ended` is infinite when no answer came."""

    client: int
    key: str
    kind: str
    began: float
    ended: float
    value: object = ABSENT  # written, or read
    expected: object = ABSENT  # of a compare-and-swap
    swapped: bool | None = None  # answer of a compare-and-swap; None: no answer

    def known(self):
        return self.ended != math.inf


def step(state, operation):
    """States after the operation on a register with this state; none if its answer would have been another."""
    if operation.kind == WRITE:
        return (operation.value,)
    if operation.kind == READ:
        return (state,) if state == operation.value else ()
    fits = state == operation.expected
    if operation.swapped is None:
        return (operation.value,) if fits else (state,)
    if operation.swapped != fits:
        return ()
    return (operation.value,) if fits else (state,)


def _prune(operations):
    """Leaves out unanswered operations that nothing could have noticed: reads, and changes to a value that
    nobody read or expected, on a register where no compare-and-swap was refused."""
    if any(o.kind == CAS and o.swapped is not True for o in operations):
        noticed = None
    else:
        noticed = {o.value for o in operations if o.kind == READ}
        noticed |= {o.expected for o in operations if o.kind == CAS}
    return [
        o
        for o in operations
        if o.known() or (o.kind != READ and (noticed is None or o.value in noticed))
    ]


def explain(operations, initial=ABSENT, steps_max=400_000):
    """None if the operations of one key are linearizable, else those at which every order fails.

    Raises TimeoutError when that is not found out in so many steps.
    """
    operations = sorted(_prune(operations), key=lambda o: o.began)
    count = len(operations)
    answered = sum(1 << i for i, o in enumerate(operations) if o.known())
    # Depth first over (operations taken, state); `low` is the first one not taken yet.
    seen = {(0, initial)}
    stack = [(0, initial)]
    deepest, stuck = -1, []
    steps = 0
    while stack:
        taken, state = stack.pop()
        if taken & answered == answered:
            return None
        # No operation may come before one that ended before it began.
        low = (~taken & (taken + 1)).bit_length() - 1
        deadline = math.inf
        candidates = []
        i = low
        while i < count and operations[i].began <= deadline:
            if not taken >> i & 1:
                candidates.append(i)
                deadline = min(deadline, operations[i].ended)
            i += 1
        moved = False
        # The one that ends first is tried first; those without an answer may as well come later.
        for i in sorted(candidates, key=lambda i: -operations[i].ended):
            if operations[i].began > deadline:
                continue
            steps += 1
            for after in step(state, operations[i]):
                moved = True
                at = (taken | 1 << i, after)
                if at not in seen:
                    seen.add(at)
                    stack.append(at)
        if steps > steps_max:
            raise TimeoutError(f"{count} operations of {operations[0].key}: too many orders to try")
        depth = (taken & answered).bit_count()
        if not moved and depth > deepest:
            deepest, stuck = depth, [operations[i] for i in candidates if operations[i].began <= deadline]
    return stuck


def check(history, initial=ABSENT):
    """Checks every key; gives what is wrong, in words, by key: where no order goes on, and what was before."""
    keys = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    wrong = {}
    for key, operations in sorted(keys.items()):
        stuck = explain(operations, initial)
        if stuck is not None:
            at = min(o.began for o in stuck)
            around = [o for o in sorted(operations, key=lambda o: o.began) if o.ended >= at - 0.1 and o.began <= at + 0.1]
            wrong[key] = [_line(o, o in stuck) for o in around][:60]
    return wrong


def _line(o, stuck):
    expected = f" for {o.expected}: {o.swapped}" if o.kind == CAS else ""
    return f"{'>' if stuck else ' '} client {o.client} {o.kind} {o.value}{expected} {o.began:.6f}..{o.ended:.6f}"
