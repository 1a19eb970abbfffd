// OpenAI's library for JavaScript.
import { check, embedder, key, load, messages, model, need, report, schema, url } from "./checking.mjs";

const { default: OpenAI } = await load("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const chats = client.chat.completions;

await check("models", async () => {
  const found = [];
  for await (const each of client.models.list()) found.push(each.id);
  need(found.includes(model), `not in ${found}`);
});
await check("chat", async () => need((await chats.create({ model, messages })).usage.total_tokens, "no usage"));
await check("stream", async () => {
  let last;
  const options = { include_usage: true };
  for await (const chunk of await chats.create({ model, messages, stream: true, stream_options: options })) last = chunk;
  need(last.usage.total_tokens, "no usage");
});
await check("run_tools", async () => {
  const own = { name: "weather", parameters: schema, parse: JSON.parse, function: () => "rain" };
  need(await chats.runTools({ model, messages, tools: [{ type: "function", function: own }] }).finalContent(), "no text");
});
await check("embeddings", async () => need((await client.embeddings.create({ model: embedder, input: ["a"] })).data.length, "none"));
await check("responses", async () => need((await client.responses.create({ model, input: "hi" })).output_text, "no text"));
await check("responses_stream", async () =>
  need((await client.responses.stream({ model, input: "hi" }).finalResponse()).usage.total_tokens, "no usage"));
report();
