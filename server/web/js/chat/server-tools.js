// The tools that the server itself runs, its own and those of MCP servers, where it has any and the key may use them.
import { call, callIfThere } from "../api.js";
import { createStore } from "../base.js";

/** `list` is null until it was asked for, and where there is none. */
export const serverTools = createStore({ list: null });

export async function loadTools() {
  try {
    serverTools.set({ list: await callIfThere("GET", "/tools") });
  } catch (error) {
    console.warn("the server's tools aren't known", error);
  }
}

/** Runs a call's tool on the server, and returns what the model is to read of it. */
export async function runTool({ name, arguments: text }) {
  let params;
  try {
    params = text.trim() ? JSON.parse(text) : {};
  } catch {
    throw new Error(`The arguments of ${name} are no JSON, so it can't be run; write a result, or answer again.`);
  }
  const result = await call("POST", "/tools", { tool: name, params });
  return result.error ?? result.plain_text_response ?? JSON.stringify(result.result ?? result, null, 2);
}
