"""Random EVM programs and transactions: what two implementations are given to compare.

A program is a row of snippets that leave the stack as they found it, so most of them run to their end;
some are random bytes. Nothing in them looks at what two chains may differ in: block hash, time, number,
randomness, base fee, gas price.
"""

PRECOMPILES = [*range(1, 18), 0x100]
# Of two arguments, of three, of one.
BINARY = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1A, 0x1B, 0x1C, 0x1D]
TERNARY = [0x08, 0x09]
UNARY = [0x15, 0x19, 0x1E, 0x35, 0x51, 0x54, 0x5C]
# What is known of the call itself.
NULLARY = [0x30, 0x32, 0x33, 0x34, 0x36, 0x38, 0x3D, 0x41, 0x45, 0x46, 0x47, 0x58, 0x59, 0x5A]
INTERESTING = [0, 1, 2, 31, 32, 33, 255, 256, 1 << 64, (1 << 255) - 1, 1 << 255, (1 << 256) - 1]


def push(value):
    length = (value.bit_length() + 7) // 8
    return bytes([0x5F + length]) + value.to_bytes(length, "big")


class Programs:
    """Makes programs from a random source that know of the addresses in `known`."""

    def __init__(self, random, known):
        self.random = random
        self.known = known

    def number(self):
        random = self.random
        return random.choice(
            [random.choice(INTERESTING), random.randrange(8), random.getrandbits(random.randrange(1, 257))]
        )

    def address(self):
        random = self.random
        kind = random.randrange(4)
        if kind == 0 or not self.known:
            return random.choice(PRECOMPILES)
        if kind == 1:
            return random.getrandbits(160)
        return int(random.choice(self.known), 16)

    def value(self):
        """Code that leaves one word."""
        random = self.random
        kind = random.randrange(6)
        if kind == 0:
            return bytes([random.choice(NULLARY)])
        if kind == 1:
            return push(random.randrange(8)) + bytes([random.choice(UNARY)])
        if kind == 2:
            return push(self.number()) + push(self.number()) + bytes([random.choice(BINARY)])
        if kind == 3:
            numbers = b"".join(push(self.number()) for _ in range(3))
            return numbers + bytes([random.choice(TERNARY)])
        if kind == 4:
            return push(self.address()) + bytes([random.choice([0x31, 0x3B, 0x3F])])
        return push(self.number())

    def piece(self):
        """Offset and length of some memory, as pushed for an instruction."""
        return push(self.random.randrange(128)) + push(self.random.randrange(96))

    def call(self):
        random = self.random
        opcode = random.choice([0xF1, 0xF1, 0xF2, 0xF4, 0xFA])
        code = push(random.choice([0, 32, 64])) + push(0) + push(random.choice([0, 4, 32, 128, 213])) + push(0)
        if opcode in (0xF1, 0xF2):
            code += push(random.choice([0, 0, 1, 10**18]))
        code += push(self.address()) + push(random.choice([0, 2300, 30_000, 100_000]))
        # What comes back is kept where it shows.
        return code + bytes([opcode]) + push(random.randrange(8)) + b"\x55"

    def create(self):
        random = self.random
        inner = self.init(self.body(2))[:32]
        code = push(int.from_bytes(inner.ljust(32, b"\0"), "big")) + push(0) + b"\x52"
        opcode = random.choice([0xF0, 0xF5])
        salt = push(random.getrandbits(16)) if opcode == 0xF5 else b""
        code += salt + push(len(inner)) + push(0) + push(random.choice([0, 0, 1])) + bytes([opcode])
        return code + push(random.randrange(8)) + b"\x55"

    def snippet(self):
        random = self.random
        kind = random.randrange(12)
        if kind < 3:
            return self.value() + push(random.randrange(8)) + b"\x55"
        if kind == 3:
            return self.value() + push(random.randrange(8)) + b"\x5d"
        if kind == 4:
            return self.value() + push(random.randrange(128)) + bytes([random.choice([0x52, 0x53])])
        if kind == 5:
            topics = random.randrange(5)
            code = b"".join(self.value() for _ in range(topics))
            return code + push(random.randrange(64)) + push(random.randrange(64)) + bytes([0xA0 + topics])
        if kind == 6:
            return self.piece() + b"\x20" + push(random.randrange(8)) + b"\x55"
        if kind == 7:
            copy = random.choice([0x37, 0x39, 0x5E])
            return push(random.randrange(64)) + push(random.randrange(64)) + push(random.randrange(64)) + bytes([copy])
        if kind == 8:
            code = push(random.randrange(64)) + push(random.randrange(64)) + push(0)
            return code + push(self.address()) + b"\x3c"
        if kind == 9:
            return self.create()
        return self.call()

    def body(self, snippets):
        code = b"".join(self.snippet() for _ in range(snippets))
        end = self.random.randrange(12)
        if end == 0:
            return code + push(self.address()) + b"\xff"
        if end == 1:
            return code + push(self.random.randrange(64)) + push(0) + b"\xfd"
        if end == 2:
            return code + b"\xfe"
        return code + push(self.random.randrange(96)) + push(0) + b"\xf3"

    def program(self):
        random = self.random
        if random.randrange(8) == 0:
            return random.randbytes(random.randrange(1, 80))
        return self.body(random.randrange(1, 9))

    def init(self, runtime):
        """Code that deploys `runtime`."""
        size = push(len(runtime))
        # DUP1, PUSH1 where the runtime begins, PUSH0, CODECOPY, PUSH0, RETURN
        return size + b"\x80\x60" + bytes([len(size) + 7]) + b"\x5f\x39\x5f\xf3" + runtime

    def data(self):
        return self.random.randbytes(self.random.choice([0, 0, 4, 32, 36, 100]))
