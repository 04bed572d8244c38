"""Checks of what comes in a request: a UserError says which field is wrong and what would be valid."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from pbrl.errors import UserError


async def json_body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise UserError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise UserError("the body is not a JSON object")
    return body


def text(body: dict[str, Any], key: str, longest: int) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise UserError(f"{key}: expected a text of 1 to {longest} characters")
    return value


def whole(body: dict[str, Any], key: str, low: int, high: int) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{key}: expected a whole number from {low} to {high}")
    return value


def number(body: dict[str, Any], key: str, low: float, high: float) -> float:
    value = body.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{key}: expected a number from {low:g} to {high:g}")
    return float(value)


def flag(body: dict[str, Any], key: str) -> bool:
    value = body.get(key)
    if not isinstance(value, bool):
        raise UserError(f"{key}: expected true or false")
    return value
