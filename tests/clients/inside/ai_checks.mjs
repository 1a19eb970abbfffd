// Vercel's AI SDK with its provider for compatible servers.
import { check, embedder, key, load, model, need, report, schema, url } from "./checking.mjs";

const ai = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const provider = createOpenAICompatible({
  name: "local", baseURL: `${url}/v1`, apiKey: key, includeUsage: true, supportsStructuredOutputs: true,
});
const asked = { model: provider(model), prompt: "hi", maxRetries: 0 };
const weather = ai.tool({ description: "Weather", inputSchema: ai.jsonSchema(schema), execute: async () => "rain" });

await check("generate", async () => need((await ai.generateText(asked)).finishReason === "stop", "not at its end"));
await check("stream", async () => {
  const made = ai.streamText(asked);
  for await (const _ of made.textStream);
  need((await made.usage).totalTokens, "no usage");
});
await check("tool_loop_stream", async () => {
  const made = ai.streamText({ ...asked, tools: { weather }, stopWhen: ai.isStepCount(3) });
  for await (const _ of made.textStream);
  need((await made.steps).length === 2, `${(await made.steps).length} steps`);
});
await check("object", async () =>
  need((await ai.generateObject({ ...asked, schema: ai.jsonSchema(schema) })).object.city, "none"));
await check("embed", async () => {
  const embedding = provider.embeddingModel?.(embedder) ?? provider.textEmbeddingModel(embedder);
  need((await ai.embed({ model: embedding, value: "a" })).embedding.length, "none");
});
report();
