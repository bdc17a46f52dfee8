"""Early fusion in the text itself: columns written behind it before it is embedded.

    "a red chair. price: 12.5, city: Paris"

A column without a value is left out. The text encoder then reads everything, and `Concat` what it
and the other modalities give. Knows nothing about stores or encoders, and needs no torch.

Source: Gu and Budhkar 2021, "A Package for Learning on Tabular and Text Data with Transformers",
MAI workshop at NAACL, table 1.
"""

from collections.abc import Mapping
from typing import Any

#: A text that ends in one of these needs no full stop before the columns.
_ENDS = ".!?。！？"


def written(text: str | None, columns: Mapping[str, Any]) -> str:
    """The text with its columns, in the order given; "" where there is nothing to write.

    None, NaN and blank texts are missing. Fractions are cut to six digits, whole numbers are not:
    word pieces beyond tell an encoder nothing.
    """
    found = {name: _value(value) for name, value in columns.items()}
    told = ", ".join(f"{name}: {value}" for name, value in found.items() if value)
    own = (text or "").strip()
    if not own or not told:
        return own or told
    return f"{own}{'' if own[-1] in _ENDS else '.'} {told}"


def _value(value: Any) -> str:
    """A value as it is written, "" for a missing one."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def example() -> list[str]:
    """A text and two columns, and what is left where one of the three is missing."""
    text, columns = "a red chair", {"price": 12.5, "city": "Paris"}
    return [
        f'text = "{text}", price = 12.5, city = Paris',
        f'all present:   "{written(text, columns)}"',
        f'price missing: "{written(text, {**columns, "price": None})}"',
        f'text missing:  "{written(None, columns)}"',
    ]
