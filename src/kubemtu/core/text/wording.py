"""How findings speak: lists that stay short, counts that agree with their noun, ranges of sizes."""

from collections.abc import Collection, Iterable

NAMES_MOST = 3  # enough to recognise whose they are; 250 would hide the sentence


def names(items: Iterable[str], most: int = NAMES_MOST) -> str:
    """Join names for a sentence: "a, b and c", or "a, b, c and 12 more"."""
    listed = list(items)
    if len(listed) > most + 1:
        return f"{', '.join(listed[:most])} and {len(listed) - most} more"
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def these(noun: str, items: Iterable[str], most: int = NAMES_MOST) -> str:
    """Name one or several of a kind with their noun: "node a", "nodes a and b", "nodes a, b, c and 12 more"."""
    listed = list(items)
    return f"{noun}{'' if len(listed) == 1 else 's'} {names(listed, most)}"


def listed(noun: str, items: Collection[str]) -> str:
    """Count some of a kind and name the first few: "9 pods: a, b, c and 6 more"."""
    return f"{count(len(items), noun)}: {names(items)}"


def count(number: int, noun: str) -> str:
    """Give "1 pod" or "9 pods"; a hyphen keeps the number and the noun together in nothing but sense."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def sizes(low: int, high: int) -> str:
    """Give a range of packet sizes: "1451-1500", or one number."""
    return f"{low}" if low == high else f"{low}-{high}"


def by_node(mtus: Collection[int]) -> str:
    """Say one MTU, or those of several nodes: "1450 and 8950", or "what their node takes, 1350 to 8950"."""
    listed = sorted({*mtus})
    if len(listed) > NAMES_MOST:
        return f"what their node takes, {listed[0]} to {listed[-1]}"
    return names(map(str, listed))


def has(number: int) -> str:
    """Return the verb of that many: "has" or "have"."""
    return "has" if number == 1 else "have"


def verb(number: int, plural: str) -> str:
    """Return the verb in the number of its subject: "send" for many, "sends" for one."""
    return plural + "s" if number == 1 else plural


def span(seconds: float) -> str:
    """Return a length of time in its largest whole unit: "3 seconds", "12 minutes", "2 days"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return count(int(seconds // size), unit)
    return count(int(seconds), "second")
