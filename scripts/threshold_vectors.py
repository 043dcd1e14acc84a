#!/usr/bin/env python3
"""Test vectors of crates/threshold, from a second implementation.

Written from docs/threshold.md and RFC 9496 with Python's integers and hashlib only: no code, no
library and no random number is shared with the crate. Slow and not constant-time: for vectors only.

    python3 scripts/threshold_vectors.py crates/threshold/vectors
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

# --- ristretto255, RFC 9496 section 4 ------------------------------------------------------------

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def negative(x):
    return x % P & 1 == 1


def absolute(x):
    return -x % P if negative(x) else x % P


def sqrt_ratio(u, v):
    """RFC 9496, 4.2: (whether u/v is square, the non-negative root of u/v or of SQRT_M1 * u/v)."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check == -u % P or check == -u * SQRT_M1 % P:
        r = r * SQRT_M1 % P
    return check in (u % P, -u % P), absolute(r)


INVSQRT_A_MINUS_D = sqrt_ratio(1, -1 - D)[1]
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
assert SQRT_AD_MINUS_ONE**2 % P == (-D - 1) % P
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P


class Point:
    """Extended coordinates on the twisted Edwards curve with a = -1."""

    def __init__(self, x, y, z=1, t=None):
        self.x, self.y, self.z = x % P, y % P, z % P
        self.t = x * y % P if t is None else t % P

    def __add__(self, o):
        a, b = (self.y - self.x) * (o.y - o.x), (self.y + self.x) * (o.y + o.x)
        c, d = 2 * D * self.t * o.t, 2 * self.z * o.z
        e, f, g, h = b - a, d - c, d + c, b + a
        return Point(e * f, g * h, f * g, e * h)

    def __neg__(self):
        return Point(-self.x, self.y, self.z, -self.t)

    def __rmul__(self, scalar):
        total, power = Point(0, 1), self
        for bit in bin(scalar % Q)[:1:-1]:
            if bit == "1":
                total = total + power
            power = power + power
        return total

    def encode(self):
        """RFC 9496, 4.3.2."""
        u1, u2 = (self.z + self.y) * (self.z - self.y) % P, self.x * self.y % P
        inv = sqrt_ratio(1, u1 * u2 * u2)[1]
        den1, den2 = inv * u1 % P, inv * u2 % P
        z_inv = den1 * den2 * self.t % P
        if negative(self.t * z_inv):
            x, y = self.y * SQRT_M1 % P, self.x * SQRT_M1 % P
            den = den1 * INVSQRT_A_MINUS_D % P
        else:
            x, y, den = self.x, self.y, den2
        if negative(x * z_inv):
            y = -y
        return absolute(den * (self.z - y)).to_bytes(32, "little")


def one_way_map(wide):
    """RFC 9496, 4.3.4."""

    def half(b):
        t = (int.from_bytes(b, "little") & (2**255 - 1)) % P
        r = SQRT_M1 * t * t % P
        u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
        square, s = sqrt_ratio(u, v)
        c = P - 1
        if not square:
            s, c = -absolute(s * t) % P, r
        n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
        w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
        return Point(w0 * w3, w2 * w1, w1 * w3, w0 * w2)

    return half(wide[:32]) + half(wide[32:])


BY = 4 * pow(5, -1, P) % P
BX = sqrt_ratio(BY * BY - 1, D * BY * BY + 1)[1]
G = Point(BX, BY)
# RFC 9496, appendix A: small multiples of the generator, and element derivation.
assert G.encode().hex() == "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
assert (2 * G).encode().hex() == "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"
assert (0 * G).encode() == bytes(32) and (Q * G).encode() == bytes(32)
SHOT = hashlib.sha512(b"Ristretto is traditionally a short shot of espresso coffee").digest()
assert one_way_map(SHOT).encode().hex() == "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"

# --- hashes and bytes ----------------------------------------------------------------------------


def lp(*parts):
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


H = one_way_map(hashlib.sha512(lp(b"coco/1 threshold generator")).digest())


def scalar(*parts):
    return int.from_bytes(hashlib.sha512(lp(*parts)).digest(), "little") % Q


def drawn(*names):
    """A scalar that stands for a random one, so that the vectors are the same each time."""
    return scalar(b"vector", *(str(name).encode() for name in names))


def le(number):
    return number.to_bytes(32, "little")


def derive(secret, *info):
    """HKDF-SHA-256 (RFC 5869) without salt, one block."""
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, lp(*info) + b"\x01", "sha256")


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def cbor(value):
    """RFC 8949: what the messages need, in the shortest form."""

    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        assert n < 256
        return bytes([major << 5 | 24, n])

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, Point):
        return cbor(value.encode())
    return head(4, len(value)) + b"".join(cbor(item) for item in value)


def lagrange(j, indices):
    result = 1
    for m in indices:
        if m != j:
            result = result * m * pow(m - j, -1, Q) % Q
    return result


# --- docs/threshold.md ---------------------------------------------------------------------------


class Case:
    def __init__(self, name, network, number, m, n):
        self.name, self.network, self.m, self.n = name, network, m, n
        self.t = {j: drawn(name, "t", j) for j in range(1, n + 1)}
        self.T = {j: t * G for j, t in self.t.items()}
        self.session = hashlib.sha256(
            lp(b"coco/1 threshold session", network, number.to_bytes(8, "big"), bytes([m]), bytes([n]))
            + lp(*(T.encode() for T in self.T.values()))
        ).digest()
        self.scope = (network, self.session)
        self.poly, self.C, self.E, self.s, self.parts = {}, {}, {}, {}, {}
        self.events = []
        self.out = {
            "network": network.hex(),
            "number": number,
            "threshold": m,
            "transport_keys": [{"secret": le(self.t[j]).hex(), "public": T.encode().hex()} for j, T in self.T.items()],
            "session": self.session.hex(),
            "ledger": self.events,
        }

    def publish(self, sender, kind, body, fault=None):
        self.events.append({"from": sender, "message": cbor([kind, body]).hex(), "fault": fault})

    def close(self, what):
        self.events.append({"close": what})

    def same_logarithm(self, context, indices, bound, a, X, b, Z, x, nonce):
        s = drawn(self.name, "nonce", context, *indices, nonce)
        e = scalar(
            context, *self.scope, bytes(indices), bound, *(p.encode() for p in (a, X, b, Z, s * a, s * b))
        )
        return [le(e), le((s + e * x) % Q)]

    def deal(self, i, cheated=()):
        a = [drawn(self.name, "a", i, k) for k in range(self.m)]
        e_i = drawn(self.name, "e", i)
        C, E = [x * G for x in a], e_i * G
        self.poly[i], self.C[i], self.E[i] = a, C, E
        masked = []
        for j in range(1, self.n + 1):
            self.s[i, j] = sum(a[k] * pow(j, k, Q) for k in range(self.m)) % Q
            mask = derive(
                (e_i * self.T[j]).encode(),
                b"coco/1 threshold share",
                *self.scope,
                bytes([i]),
                bytes([j]),
                E.encode(),
                self.T[j].encode(),
            )
            share = xor(le(self.s[i, j]), mask)
            masked.append(xor(share, b"\x01" + bytes(31)) if j in cheated else share)
        s, t = drawn(self.name, "deal nonce", i, 0), drawn(self.name, "deal nonce", i, 1)
        e = scalar(
            b"coco/1 threshold deal",
            *self.scope,
            bytes([i]),
            *(c.encode() for c in C),
            E.encode(),
            *masked,
            (s * G).encode(),
            (t * G).encode(),
        )
        knowledge = [le(e), le((s + e * a[0]) % Q), le((t + e * e_i) % Q)]
        self.publish(i, 0, [self.session, i, C, E, masked, knowledge])

    def ack(self, j, dealers):
        self.publish(j, 1, [self.session, j, list(dealers)])

    def dispute(self, j, i, fault):
        K = self.t[j] * self.E[i]
        proof = self.same_logarithm(
            b"coco/1 threshold dispute", [i, j], b"", G, self.T[j], self.E[i], K, self.t[j], 0
        )
        self.publish(j, 2, [self.session, j, i, K, proof], fault)

    def key_part(self, i):
        self.parts[i] = Y = self.poly[i][0] * H
        proof = self.same_logarithm(
            b"coco/1 threshold key part", [i], b"", G, self.C[i][0], H, Y, self.poly[i][0], 0
        )
        self.publish(i, 3, [self.session, i, Y, proof])

    def key_part_shares(self, i, receivers):
        total = Point(0, 1)
        for j in receivers:
            committed = Point(0, 1)
            for k, c in enumerate(self.C[i]):
                committed = committed + pow(j, k, Q) * c
            share = self.s[i, j] * H
            proof = self.same_logarithm(
                b"coco/1 threshold key part share", [i, j], b"", G, committed, H, share, self.s[i, j], 0
            )
            self.publish(j, 4, [self.session, j, i, share, proof])
            total = total + lagrange(j, receivers) * share
        assert total.encode() == (self.poly[i][0] * H).encode()
        self.parts[i] = total

    def finish(self, qualified, holders):
        y = Point(0, 1)
        for i in qualified:
            y = y + self.parts[i]
        x = {j: sum(self.s[i, j] for i in qualified) % Q for j in range(1, self.n + 1)}
        V = {j: x[j] * G for j in x}
        self.out["qualified"] = qualified
        self.out["key"] = cbor([list(self.scope), self.m, y, list(V.values())]).hex()
        self.out["shares"] = [le(x[j]).hex() for j in x]

        message, label = hashlib.sha256(self.name.encode()).digest(), f"label of {self.name}".encode()
        r, s = drawn(self.name, "r"), drawn(self.name, "s")
        u, ub = r * H, r * G
        c = xor(message, derive((r * y).encode(), b"coco/1 threshold mask", *self.scope, u.encode()))
        e = scalar(
            b"coco/1 threshold ciphertext", *self.scope, c, label, *(p.encode() for p in (u, s * H, ub, s * G))
        )
        f = (s + r * e) % Q
        self.out["message"], self.out["label"] = message.hex(), label.hex()
        self.out["ciphertext"] = cbor([self.session, c, u, ub, [le(e), le(f)]]).hex()
        self.out["partials"] = []
        common = Point(0, 1)
        for j in holders:
            u_j = x[j] * u
            proof = self.same_logarithm(b"coco/1 threshold partial", [j], le(e), G, V[j], u, u_j, x[j], 0)
            self.out["partials"].append(cbor([self.session, j, u_j, proof]).hex())
            common = common + lagrange(j, holders) * u_j
        assert common.encode() == (r * y).encode()


def plain(name, network, number, m, n, holders):
    case = Case(name, network, number, m, n)
    everybody = list(range(1, n + 1))
    for i in everybody:
        case.deal(i)
    case.close("dealing")
    for j in everybody:
        case.ack(j, everybody)
    case.close("answers")
    for i in everybody:
        case.key_part(i)
    case.finish(everybody, holders)
    return case


def faults():
    """3 of 6. Actor 6 does not deal, 2 cheats 5, 4 disputes 1 falsely, 3 is away in round 2 and
    lost before its key part, which 1, 2 and 6 make up for."""
    case = Case("three_of_six_with_faults", bytes(range(32)), 2**40, 3, 6)
    case.deal(1)
    case.deal(2, cheated=[5])
    for i in (3, 4, 5):
        case.deal(i)
    case.close("dealing")
    case.dispute(5, 2, "bad dealer")
    case.dispute(4, 1, "false dispute")
    case.ack(1, [1, 2, 3, 4, 5])
    case.ack(2, [1, 2, 3, 4, 5])
    case.ack(4, [1, 2, 3, 4, 5])
    case.ack(5, [1, 3, 4, 5])
    case.ack(6, [1, 2, 3, 4, 5])
    case.close("answers")
    for i in (1, 4, 5):
        case.key_part(i)
    case.key_part_shares(3, [1, 2, 6])
    case.finish([1, 3, 4, 5], [2, 3, 6])
    return case


def main(folder):
    cases = [
        plain("one_of_one", bytes(32), 1, 1, 1, [1]),
        plain("one_of_three", b"\xff" * 32, 2, 1, 3, [3]),
        plain("two_of_three", hashlib.sha256(b"a network").digest(), 3, 2, 3, [1, 3]),
        plain("four_of_four", b"\x01" * 32, 4, 4, 4, [1, 2, 3, 4]),
        faults(),
    ]
    for case in cases:
        text = json.dumps(case.out, indent=1)
        (Path(folder) / f"{case.name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
