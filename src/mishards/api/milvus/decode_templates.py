"""Values of filter templates (`{name}` in a filter) as plain Python values."""

from __future__ import annotations

from typing import Any

import msgspec

from mishards.core.errors import InvalidParameter, Unimplemented

_PLAIN = ("bool_val", "int64_val", "float_val", "string_val")
_PLAIN_ARRAYS = ("bool_data", "long_data", "double_data", "string_data")


def decode_templates(values: Any) -> dict[str, Any]:
    """The `expr_template_values` of a request.

    Raises:
        InvalidParameter, Unimplemented: names the template.
    """
    return {name: _value(name, values[name]) for name in values} if values else {}


def _value(name: str, value: Any) -> Any:
    kind = value.WhichOneof("val")
    if kind in _PLAIN:
        return getattr(value, kind)
    if kind == "array_val":
        return _array(name, value.array_val)
    if kind is None:
        raise InvalidParameter(f"template value {name!r} is empty")
    raise Unimplemented(f"template value {name!r} is of the kind {kind}, which is not served")


def _array(name: str, array: Any) -> list[Any]:
    kind = array.WhichOneof("data")
    if kind is None:
        return []
    if kind in _PLAIN_ARRAYS:
        return list(getattr(array, kind).data)
    if kind == "array_data":
        return [_array(name, element) for element in array.array_data.data]
    try:
        return [msgspec.json.decode(element) for element in array.json_data.data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"template value {name!r} holds invalid JSON: {error}") from error
