// Calls a model through one instrumentation. Usage: sdk.mjs WHICH json|protobuf PROVIDER COLLECTOR
import { createRequire } from 'node:module';
import { OTLPTraceExporter as Json } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as Protobuf } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const require = createRequire(import.meta.url);
const [which, form, address, collector] = process.argv.slice(2);
const exporter = new (form === 'json' ? Json : Protobuf)({ url: collector });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'chat-backend', 'enduser.id': 'anna' }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
provider.register();
const baseURL = `${address}/v1`;
const apiKey = 'sk-SECRET';

async function vercel() {
  const { embed, generateText } = await import('ai');
  const { createOpenAI } = await import('@ai-sdk/openai');
  const openai = createOpenAI({ baseURL, apiKey });
  const experimental_telemetry = { isEnabled: true };
  await generateText({ model: openai.chat('gpt-4o'), prompt: 'SECRET-PROMPT', experimental_telemetry });
  await embed({ model: openai.embedding('text-embedding-3-small'), value: 'SECRET-PROMPT', experimental_telemetry });
}

async function openai(packageName) {
  const { OpenAIInstrumentation } = require(packageName);
  const instrumentation = new OpenAIInstrumentation();
  instrumentation.setTracerProvider(provider);
  instrumentation.setMeterProvider(new MeterProvider());
  const OpenAI = require('openai').OpenAI;
  if (instrumentation.manuallyInstrument) instrumentation.manuallyInstrument(OpenAI);
  const client = new OpenAI({ apiKey, baseURL, maxRetries: 0 });
  const messages = [{ role: 'user', content: 'SECRET-PROMPT' }];
  await client.chat.completions.create({ model: 'gpt-4o', messages });
  const stream = await client.chat.completions.create({ model: 'gpt-4o', messages, stream: true, stream_options: { include_usage: true } });
  for await (const _ of stream);
  await client.embeddings.create({ model: 'text-embedding-3-small', input: 'SECRET-PROMPT' });
  await client.chat.completions.create({ model: 'broken', messages }).catch(() => {});
}

await {
  vercel,
  'official-openai': () => openai('@opentelemetry/instrumentation-openai'),
  'openllmetry-openai': () => openai('@traceloop/instrumentation-openai'),
}[which]();
await provider.forceFlush();
await provider.shutdown();
