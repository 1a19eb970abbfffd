// The open chat: its messages as a tree, the branch that is shown, and the answer that is being made.
import { answerEvents, call } from "../api.js";
import { announce, createStore } from "../base.js";
import { chatList, loadChats, noteChat } from "./chat-list.js";
import { defaultSettings } from "../preferences.js";

const NOTHING = { id: null, title: "", settings: null, messages: [], head: null, running: null, isLost: false, problem: null, loading: false };

export const chat = createStore({ ...NOTHING, settings: defaultSettings() });

let visit = 0; // grows with every chat that is opened: what was begun in another one leaves this one alone
let watching = null; // the AbortController of the running answer's events
const texts = new Map(); // the AnswerText that shows each message that is being written
const partWatchers = new Set(); // called when thoughts or calls of a running answer grow

export function onParts(watcher) {
  partWatchers.add(watcher);
  return () => partWatchers.delete(watcher);
}

/** Lets new text of a message go to `text`, an AnswerText, until the returned function is called. */
export function showText(id, text) {
  texts.set(id, text);
  return () => texts.get(id) === text && texts.delete(id);
}

export function newChat() {
  visit += 1;
  leave();
  chat.set({ ...NOTHING, settings: defaultSettings() });
}

export async function openChat(id) {
  if (chat.get().id === id) return;
  visit += 1;
  leave();
  chat.set({ ...NOTHING, id, settings: defaultSettings(), loading: true });
  await reload(id);
}

/** Shows what another tab or device has added to the open chat. */
export async function refreshChat() {
  const { id, running, loading } = chat.get();
  if (id && !running && !loading) await reload(id);
}

async function reload(id) {
  try {
    const found = await call("GET", `/web/chats/${id}`);
    if (chat.get().id !== id) return;
    chat.set({ ...pick(found), loading: false, problem: null });
    if (found.running) watch(id, found.running.message, found.running.n_events);
  } catch (error) {
    if (chat.get().id === id) chat.set({ loading: false, problem: error.message });
  }
}

function pick({ id, title, settings, head, messages, running }) {
  return { id, title, head, messages, settings: { ...defaultSettings(), parameters: {}, system: "", ...settings }, running: running?.message ?? null };
}

function leave() {
  watching?.abort();
  watching = null;
  if (chat.get().isLost) chat.set({ isLost: false });
}

// --- the tree ---

/** Returns the shown branch from its first message to its last. */
export function branch({ messages, head }) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const found = [];
  for (let message = byId.get(head); message; message = byId.get(message.parent)) found.push(message);
  return found.reverse();
}

export function siblings({ messages }, message) {
  return messages.filter((each) => each.parent === message.parent && each.role === message.role);
}

function leafOf(messages, id) {
  for (;;) {
    const next = messages.findLast((each) => each.parent === id);
    if (!next) return id;
    id = next.id;
  }
}

export async function showBranch(message) {
  const { id, messages } = chat.get();
  const head = leafOf(messages, message.id);
  chat.set({ head });
  await attempt(() => call("POST", `/web/chats/${id}`, { head }));
}

// --- what a user does ---

async function attempt(action) {
  const mine = visit;
  try {
    chat.set({ problem: null });
    return await action();
  } catch (error) {
    if (visit === mine) chat.set({ problem: error.message });
    return null;
  }
}

export async function saveSettings(settings) {
  const { id } = chat.get();
  if (id) await call("POST", `/web/chats/${id}`, { settings: clean(settings) });
  chat.set({ settings });
}

function clean({ model, system, parameters }) {
  return { model: model || null, system, parameters };
}

export function dismissProblem() {
  chat.set({ problem: null });
}

/** Sends messages behind `parent` and lets the model answer; returns false if the server took nothing.
 *
 * A user who opens another chat meanwhile ends nothing: the turn is in the list. */
export async function sendTurn(parent, messages) {
  const mine = visit;
  return (await attempt(async () => {
    if (chat.get().running) await stopAnswer();
    const { settings } = chat.get();
    let { id } = chat.get();
    if (!id) {
      ({ id } = await call("POST", "/web/chats", { settings: clean(settings) }));
      if (visit === mine) {
        chat.set({ id });
        history.replaceState(null, "", `#/chat/${id}`);
      }
    }
    const turn = await call("POST", `/web/chats/${id}/turns`, { parent, messages });
    const { title } = turn;
    noteChat({ id, title, updated: Date.now() / 1000, running: true });
    if (visit !== mine) return true;
    const answer = turn.messages.at(-1);
    chat.set({ title, messages: [...chat.get().messages, ...turn.messages], head: answer.id, running: answer.id });
    announce("Answering");
    watch(id, answer.id, 0);
    return true;
  })) === true;
}

export function regenerate(message) {
  return sendTurn(message.parent, []);
}

export async function stopAnswer() {
  const { id, running } = chat.get();
  if (!running) return;
  await attempt(() => call("POST", `/web/chats/${id}/stop`));
  for (let n = 0; n < 100 && chat.get().running === running; n += 1) {
    await new Promise((resume) => setTimeout(resume, 20)); // for its last event
  }
}

// --- the running answer ---

async function watch(id, messageId, after) {
  leave();
  const mine = new AbortController();
  watching = mine;
  const onLost = (isLost) => !mine.signal.aborted && chat.get().isLost !== isLost && chat.set({ isLost });
  try {
    for await (const event of answerEvents(id, messageId, after, mine.signal, onLost)) {
      if (mine.signal.aborted) return;
      if (event.type === "end") {
        replace(event.data);
        ended(id, event.data);
        return;
      }
      take(messageId, event);
    }
    if (!mine.signal.aborted) {
      await reload(id); // it ended meanwhile
      void loadChats();
    }
  } catch (error) {
    if (!mine.signal.aborted) chat.set({ problem: error.message, running: null });
  }
}

function take(messageId, event) {
  const message = chat.get().messages.find((each) => each.id === messageId);
  if (!message) return;
  const content = message.content;
  if (event.type === "text") {
    const isFirst = !content.text;
    content.text = (content.text ?? "") + event.text;
    texts.get(messageId)?.append(event.text);
    if (isFirst) chat.set({});
    return;
  }
  if (event.type === "thoughts") content.thoughts = (content.thoughts ?? "") + event.text;
  else if (event.type === "call") content.calls = [...(content.calls ?? []), { ...event.data, arguments: "" }];
  else if (event.type === "arguments") content.calls[event.call].arguments += event.text;
  else if (event.type === "started") content.prompt_tokens = event.data.prompt_tokens;
  for (const watcher of partWatchers) watcher();
}

function replace(message) {
  const { messages } = chat.get();
  chat.set({ messages: messages.map((each) => (each.id === message.id ? message : each)), running: null });
}

function ended(id, message) {
  const words = (message.content.text ?? "").split(/\s+/).filter(Boolean);
  const said = words.slice(0, 120).join(" ");
  const more = words.length > 120 ? ` … and ${words.length - 120} more words` : "";
  const calls = (message.content.calls ?? []).map((each) => ` Called ${each.name}.`).join("");
  announce(message.state === "failed" ? `The answer failed: ${message.content.error}` : `Answer: ${said}${more}${calls}`);
  const { chats } = chatList.get();
  if (chats) chatList.set({ chats: chats.map((each) => (each.id === id ? { ...each, running: false } : each)) });
}
