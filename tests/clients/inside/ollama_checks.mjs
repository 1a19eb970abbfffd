// Ollama's library for JavaScript.
import { check, embedder, key, load, messages, model, need, report, schema, url } from "./checking.mjs";

const { Ollama } = await load("ollama");
const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
const asked = { model, messages, options: { num_predict: 256 } };
const tools = [{ type: "function", function: { name: "weather", description: "Weather", parameters: schema } }];

await check("list", async () =>
  need((await client.list()).models.some((one) => one.name === `${model}:latest`), "not listed"));
await check("show", async () => need((await client.show({ model })).capabilities.includes("tools"), "no tools"));
await check("version", async () => need((await client.version()).version, "none"));
await check("chat", async () => {
  const done = await client.chat(asked);
  need(done.message.content && done.done_reason === "stop", JSON.stringify(done));
});
await check("stream", async () => {
  let last;
  for await (const part of await client.chat({ ...asked, stream: true })) last = part;
  need(last.done && last.eval_count > 0, JSON.stringify(last));
});
await check("tools", async () => {
  const done = await client.chat({ ...asked, tools });
  need(done.message.tool_calls.some((call) => call.function.arguments.city !== undefined), "no call");
});
await check("structured", async () =>
  need(JSON.parse((await client.chat({ ...asked, format: schema })).message.content).city !== undefined, "none"));
await check("generate", async () => {
  const done = await client.generate({ model, prompt: "Say hi.", options: { num_predict: 64 } });
  need(done.response && done.context.length > done.prompt_eval_count, JSON.stringify(done));
});
await check("embed", async () => {
  const done = await client.embed({ model: embedder, input: ["a", "b"] });
  need(done.embeddings.length === 2, "none");
});
await check("ps", async () => need((await client.ps()).models.length > 0, "none"));
await check("abort", async () => {
  const stream = await client.generate({ model, prompt: "Once", stream: true, raw: true });
  stream.abort();
  try {
    for await (const _ of stream);
  } catch (error) {
    need(error.name === "AbortError", error.name);
  }
});
report();
