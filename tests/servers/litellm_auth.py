"""Who a LiteLLM key belongs to, in place of its database: the key sk-anna is anna's, and sk-nobody is nobody's."""

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    user = api_key.removeprefix("sk-")
    return UserAPIKeyAuth(api_key=api_key, user_id=None if user == "nobody" else user)
