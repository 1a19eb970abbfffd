// The list of chats: loading, searching, and what happens to a chat as a whole.
import { call, request } from "../api.js";
import { createStore } from "../base.js";

/** `deleted` is the chat whose deletion can still be undone. */
export const chatList = createStore({ chats: null, query: "", problem: null, deleted: null });

/** A deletion can be undone for so long. */
const UNDO_MS = 10000;
let deleting = 0;

let asked = 0;

export async function loadChats(query = chatList.get().query) {
  asked += 1;
  const mine = asked;
  try {
    const { data } = await call("GET", `/web/chats?query=${encodeURIComponent(query)}`);
    const { deleted } = chatList.get();
    if (mine === asked) chatList.set({ chats: data.filter((each) => each.id !== deleted?.id), query, problem: null });
  } catch (error) {
    if (mine === asked) chatList.set({ query, problem: error.message });
  }
}

export function noteChat(chat) {
  const chats = chatList.get().chats ?? [];
  const known = chats.find((each) => each.id === chat.id);
  const noted = { ...known, ...chat };
  chatList.set({ chats: [noted, ...chats.filter((each) => each.id !== chat.id)] });
}

export async function renameChat(id, title) {
  const chat = await call("POST", `/web/chats/${id}`, { title });
  chatList.set({
    chats: chatList.get().chats.map((each) => (each.id === id ? { ...each, title: chat.title } : each)),
  });
  return chat;
}

/** Takes a chat away, and deletes it once that can't be undone any more; its answer is stopped at once. */
export async function deleteChat({ id, title, running }) {
  await finishDeletion();
  chatList.set({ chats: (chatList.get().chats ?? []).filter((each) => each.id !== id), deleted: { id, title } });
  deleting = setTimeout(finishDeletion, UNDO_MS);
  if (running) await call("POST", `/web/chats/${id}/stop`);
}

export async function undoDeletion() {
  clearTimeout(deleting);
  chatList.set({ deleted: null });
  await loadChats();
}

/** Deletes what was taken away. `options` are those of `call`. */
async function finishDeletion(options) {
  const { deleted } = chatList.get();
  if (deleted === null) return;
  clearTimeout(deleting);
  chatList.set({ deleted: null });
  try {
    await call("DELETE", `/web/chats/${deleted.id}`, undefined, options);
  } catch (error) {
    if (error.status === 404) return; // another tab was faster
    await loadChats();
    chatList.set({ problem: `“${deleted.title || "Untitled"}” isn't deleted: ${error.message}` });
  }
}

addEventListener("pagehide", () => void finishDeletion({ keepalive: true }));

export async function exportChat(id, format) {
  const response = await request("GET", `/web/chats/${id}/export?format=${format}`);
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "chat";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function importChat(file) {
  let body;
  try {
    body = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is no JSON; choose a chat that was exported as JSON`);
  }
  const chat = await call("POST", "/web/chats", body);
  noteChat(chat);
  return chat;
}

/** Groups chats by the day of their last message. */
export function grouped(chats) {
  const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
  const groups = [["Today", midnight], ["Yesterday", midnight - 86400], ["Last 7 days", midnight - 6 * 86400], ["Earlier", -Infinity]]
    .map(([name, since]) => ({ name, since, chats: [] }));
  for (const chat of chats) groups.find((group) => chat.updated >= group.since).chats.push(chat);
  return groups.filter((group) => group.chats.length);
}
