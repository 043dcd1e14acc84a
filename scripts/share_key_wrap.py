#!/usr/bin/env python3
"""The test vector of wrapped share-transport keys, from a second implementation.

Written from docs/formats.md, with the package `cryptography` in the token's place.

    python3 scripts/share_key_wrap.py
"""

import base64
import hashlib
import hmac
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from threshold_vectors import G


def part(content):
    return len(content).to_bytes(8, "big") + content


def hkdf(secret, context, *parts):
    """RFC 5869 with SHA-256 and no salt, to 32 bytes."""
    info = b"".join(map(part, (context, *parts)))
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def wrap(token, ephemeral, secret):
    """The x coordinate that the token gives, and what stands in the file."""
    public = (int.from_bytes(secret, "little") * G).encode()
    shared = ephemeral.exchange(ec.ECDH(), token.public_key())
    key = hkdf(shared, b"coco/1 share key wrap", point(ephemeral), point(token), public)
    sealed = AESGCM(key).encrypt(bytes(12), secret, public)
    # CBOR: an array of four byte strings.
    fields = (public, point(token), point(ephemeral), sealed)
    return shared, b"\x84" + b"".join(b"\x58" + bytes([len(field)]) + field for field in fields)


token, ephemeral = (ec.derive_private_key(int.from_bytes(bytes([n]) * 32), ec.SECP256R1()) for n in (2, 3))
shared, content = wrap(token, ephemeral, (5).to_bytes(32, "little"))
print(f"x coordinate  {shared.hex()}\n")
print("-----BEGIN WRAPPED COCO SHARE KEY-----")
print("\n".join(textwrap.wrap(base64.b64encode(content).decode(), 64)))
print("-----END WRAPPED COCO SHARE KEY-----")
