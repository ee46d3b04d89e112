"""The hash that sends an unseen id to a row: FNV-1a, 32 bit, over UTF-8.

It is the same on every machine and in every version, and JavaScript repeats it exactly:

    let hash = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;

Source: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm" (RFC 9923).
"""

from __future__ import annotations

_OFFSET = 0x811C9DC5
_PRIME = 0x01000193
_MASK = 0xFFFFFFFF


def fnv1a(text: str) -> int:
    """Return the hash of a text, 0 to 2^32 - 1.

    Half of a surrogate pair, which UTF-8 cannot hold, counts as U+FFFD, as it does in a browser's TextEncoder.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    value = _OFFSET
    for byte in data:
        value = ((value ^ byte) * _PRIME) & _MASK
    return value
