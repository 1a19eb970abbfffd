// The list of chats: loading, searching, and what happens to a chat as a whole.
import { call, request } from "./api.js";
import { createStore } from "./base.js";

export const chatList = createStore({ chats: null, query: "", problem: null });

let asked = 0;

export async function loadChats(query = chatList.get().query) {
  asked += 1;
  const mine = asked;
  try {
    const { data } = await call("GET", `/web/chats?query=${encodeURIComponent(query)}`);
    if (mine === asked) chatList.set({ chats: data, query, problem: null });
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

export async function deleteChat(id) {
  await call("DELETE", `/web/chats/${id}`);
  chatList.set({ chats: chatList.get().chats.filter((each) => each.id !== id) });
}

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
