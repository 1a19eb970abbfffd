// Anthropic's library for JavaScript.
import { check, key, load, messages, model, need, report, schema, url } from "./checking.mjs";

const { default: Anthropic } = await load("@anthropic-ai/sdk");
const asked = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 }).messages;
const body = { model, messages, max_tokens: 256 };

await check("message", async () => need((await asked.create(body)).stop_reason === "end_turn", "not at its end"));
await check("stream", async () => need((await asked.stream(body).finalMessage()).usage.output_tokens, "no usage"));
await check("count_tokens", async () => need((await asked.countTokens({ model, messages })).input_tokens, "none"));
await check("tools", async () => {
  const tools = [{ name: "weather", input_schema: schema }];
  const done = await asked.create({ ...body, tools, tool_choice: { type: "any" } });
  need(done.content.some((block) => block.type === "tool_use" && block.input.city), "no call");
});
report();
