"""What stands for an idempotency key in the record. The key cannot be read from it."""

import hashlib


def fingerprint(key: str) -> str:
    """Return what stands for a key. Each owner has keys of their own."""
    return _hash(key)


def former_fingerprint(owner: str, key: str) -> str:
    """Return what stood for an owner's key before version 3: those trips keep it."""
    return _hash(f"{owner}\n{key}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
