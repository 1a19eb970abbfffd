// The server's API as the page uses it: JSON calls with the key, and events that go on after a broken connection.

const SESSION = "corral.key";

/** An error of the server's, or of the way to it (`status` 0). */
export class ApiError extends Error {
  constructor(status, message, code, param) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

export function currentKey() {
  return sessionStorage.getItem(SESSION) ?? localStorage.getItem(SESSION) ?? "";
}

export function setKey(key, remembered) {
  forgetKey();
  (remembered ? localStorage : sessionStorage).setItem(SESSION, key);
}

export function forgetKey() {
  sessionStorage.removeItem(SESSION);
  localStorage.removeItem(SESSION);
}

let asking = null;
let askForKey = null;

/** `ask(problem)` shows the prompt, with what was wrong with the last key, and returns a promise of the next try. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** Sends a request and returns the response, which is good. Asks for a key where the server wants one. */
export async function request(method, path, { body, headers, signal, keepalive } = {}) {
  for (;;) {
    const key = currentKey();
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: {
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...(key ? { Authorization: `Bearer ${key}` } : {}),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        keepalive,
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server can't be reached; it may have been stopped, or the network is down.");
    }
    if (response.status === 401 && askForKey) {
      if (currentKey() === key) {
        const { message } = await errorOf(response);
        asking ??= askForKey(key === "" ? null : message).finally(() => {
          asking = null;
        });
        await asking;
      }
      continue;
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }
}

async function errorOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // a proxy's page, for one: the status has to do
  }
  const message = error.message ?? `The server answered with status ${response.status}.`;
  return new ApiError(response.status, message, error.code, error.param);
}

export async function call(method, path, body, options = {}) {
  return (await request(method, path, { ...options, body })).json();
}

/** Returns the answer, or null where the server has no such route or the key no right to it. */
export async function callIfThere(method, path) {
  try {
    return await call(method, path);
  } catch (error) {
    const isAbsent = error instanceof ApiError && ([403, 404, 405, 501].includes(error.status) || error.code === "unsupported");
    if (isAbsent) return null;
    throw error;
  }
}

/** Yields the data of a response's server-sent events as `{id, event, data}`. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = { id: null, event: "message", data: "" };
        for (const line of block.split("\n")) {
          if (line.startsWith("data: ")) found.data += line.slice(6);
          else if (line.startsWith("id: ")) found.id = line.slice(4);
          else if (line.startsWith("event: ")) found.event = line.slice(7);
        }
        if (found.data) yield found;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
/** A lost server is looked for at least so often. */
const LOOK_MS = 3000;

/** Yields the events of a running answer behind number `after`, also over broken connections, to its end.
 *
 * Ends without an `end` event where the answer is made no more: it is in the chat then. `onLost(true)` tells of
 * a server that can't be reached, `onLost(false)` of its return. */
export async function* answerEvents(chatId, messageId, after, signal, onLost) {
  let last = after;
  let waited = 0;
  while (!signal.aborted) {
    try {
      const headers = { "Last-Event-ID": String(last) };
      const response = await request("GET", `/web/chats/${chatId}/events?message=${messageId}`, { headers, signal });
      onLost(false);
      if (response.status === 204) return;
      waited = 0;
      for await (const { id, data } of readEvents(response)) {
        last = Number(id);
        const event = JSON.parse(data);
        yield event;
        if (event.type === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status !== 0 && error.status < 500) throw error;
      if (waited) onLost(true);
    }
    waited = Math.min(LOOK_MS, (waited || 125) * 2);
    await pause(waited);
  }
}
