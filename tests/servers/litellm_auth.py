"""Who a LiteLLM key belongs to, in place of its database: the key sk-anna is anna's, and sk-nobody is nobody's."""

import os

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    user = api_key.removeprefix("sk-")
    # LiteLLM's own keys carry the span of the request, under which the otel callback writes that of the call.
    is_carried = os.environ.get("AUTH_WITHOUT_SPAN") is None
    span = getattr(request.state, "parent_otel_span", None) if is_carried else None
    return UserAPIKeyAuth(api_key=api_key, user_id=None if user == "nobody" else user, parent_otel_span=span)
