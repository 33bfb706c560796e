"""Damage to bytes and text of the kinds that disks, transfers and people cause, determined by a seed."""

import random

__all__ = ["damage", "garble"]

NASTY = """~ null yes 012 1:30 .nan .inf -1 1e999 2001-13-45 !!python/none !!binary !!set {} [] [[[[ {{ &a *a << | > % @
` ' " # --- ... ? - : , \t \x00 \ufeff é 9999999999999999999999 0x 0b1 =1 ${oops} !unknown""".split()  # noqa: SIM905


def damage(content: bytes, chance: random.Random) -> bytes:
    """Damage bytes one to four times: flip bits, or overwrite, cut off, cut out, insert or repeat a part."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(found) + 1)
        end = min(len(found), start + int(2 ** chance.uniform(0, 12)))
        kind = chance.choice(("bits", "bits", "head", "overwrite", "same", "cut off", "cut out", "insert", "repeat"))
        if kind in ("bits", "head"):
            _turn_bits(found, chance, 64 if kind == "head" else len(found))  # the head contains sizes and offsets
            continue
        replacement = {
            "overwrite": chance.randbytes(end - start),
            "same": bytes([chance.choice((0, 255))]) * (end - start),
            "insert": chance.randbytes(16) + found[start:end],
            "repeat": 2 * found[start:end],
        }
        found[start : len(found) if kind == "cut off" else end] = replacement.get(kind, b"")
    return bytes(found)


def _turn_bits(content: bytearray, chance: random.Random, length: int) -> None:
    if content:
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(min(length, len(content)))] ^= 1 << chance.randrange(8)


def garble(text: str, chance: random.Random) -> str:
    """Change lines of a YAML file one to four times: a value, key, character, the indentation or the order of lines."""
    lines = text.splitlines()
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        kind = chance.choice(("value", "value", "value", "key", "indent", "twice", "gone", "swap", "character", "deep"))
        key, colon, _ = lines[place].partition(":")
        if kind == "value" and colon:
            lines[place] = f"{key}: {chance.choice(NASTY)}"
        elif kind == "key":
            lines[place] = lines[place].replace(chance.choice(key) if key else " ", chance.choice(NASTY), 1)
        elif kind == "indent":
            lines[place] = " " * chance.randint(0, 7) + lines[place].lstrip()
        elif kind == "twice":
            lines.insert(chance.randrange(len(lines)), lines[place])
        elif kind == "gone" and len(lines) > 1:
            del lines[place]
        elif kind == "swap":
            other = chance.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == "character" and lines[place]:
            at = chance.randrange(len(lines[place]))
            lines[place] = lines[place][:at] + chr(chance.randrange(0x250)) + lines[place][at + 1 :]
        elif kind == "deep":
            lines[place] = f"{key}: " + chance.choice(("[", "{a: ", "- ", "9")) * int(10 ** chance.uniform(1, 3.7))
    return "\n".join(lines) + "\n"
