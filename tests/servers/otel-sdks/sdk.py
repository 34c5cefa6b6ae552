"""Calls a model through one instrumentation. Usage: sdk.py WHICH PROVIDER COLLECTOR"""

import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

which, address, collector = sys.argv[1:]
provider = TracerProvider(resource=Resource.create({"service.name": "chat-backend", "enduser.id": "anna"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector)))
KEY, BASE = "sk-SECRET", f"{address}/v1"
MESSAGES = [{"role": "user", "content": "SECRET-PROMPT"}]


def openai_calls():
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=BASE, max_retries=0)
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    for _ in client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}):
        pass
    client.embeddings.create(model="text-embedding-3-small", input="SECRET-PROMPT")
    try:
        client.chat.completions.create(model="broken", messages=MESSAGES)
    except openai.APIError:
        pass
    client.responses.create(model="gpt-4o", input="SECRET-PROMPT")


if which == "official":
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    openai_calls()
elif which == "openllmetry-openai":
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    openai_calls()
elif which == "openllmetry-anthropic":
    import anthropic
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument(tracer_provider=provider)
    anthropic.Anthropic(api_key=KEY, base_url=address, max_retries=0).messages.create(model="claude-sonnet-4-5", max_tokens=100, messages=MESSAGES)
else:
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    Agent(OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=BASE, api_key=KEY))).run_sync("SECRET-PROMPT")
provider.shutdown()
