// The page: its views by the part of the address behind `#`, its keys, and the way in.
import { ActivityView } from "./activity-view.js";
import { onKeyWanted } from "./api.js";
import { html, render, useEffect, useState } from "./base.js";
import { chatList, loadChats, undoDeletion } from "./chat/chat-list.js";
import { chat, newChat, openChat, refreshChat, stopAnswer } from "./chat/chat.js";
import { ChatView } from "./chat/chat-view.js";
import { askForKey, KeyPrompt } from "./key-prompt.js";
import { ModelsView } from "./models-view.js";
import { loadModels } from "./models.js";
import { Sidebar } from "./sidebar.js";

/** While an answer is made in a chat that isn't open, the list is asked for so often. */
const LIST_AGAIN_MS = 4000;

onKeyWanted(askForKey);

function viewOf(hash) {
  const [, name, id] = hash.split("/");
  if (name === "models" || name === "activity") return { view: name };
  return { view: "chat", id: name === "chat" ? id : null };
}

function App() {
  const [place, setPlace] = useState(() => viewOf(location.hash));
  const [isOpen, open] = useState(false);
  const { title } = chat.use();
  useEffect(() => {
    const go = () => setPlace(viewOf(location.hash));
    const look = () => document.hidden || (refreshChat(), loadChats());
    addEventListener("hashchange", go);
    document.addEventListener("visibilitychange", look);
    void loadChats();
    void loadModels();
    const timer = setInterval(() => {
      const { chats } = chatList.get();
      if (!document.hidden && chats?.some((each) => each.running && each.id !== chat.get().id)) void loadChats();
    }, LIST_AGAIN_MS);
    return () => {
      clearInterval(timer);
      removeEventListener("hashchange", go);
      document.removeEventListener("visibilitychange", look);
    };
  }, []);
  useEffect(() => {
    if (place.view !== "chat") return;
    if (place.id) void openChat(place.id);
    else if (chat.get().id) newChat();
  }, [place]);
  useEffect(() => {
    const titles = { models: "Models", activity: "Activity" };
    document.title = `${(titles[place.view] ?? title) || "Chat"} – Corral`;
  }, [place, title]);
  useEffect(() => {
    const onKey = (event) => {
      const isTyping = event.target.closest?.("input, textarea, select, dialog");
      if (event.key === "Escape" && isOpen) open(false);
      else if (event.key === "Escape" && event.target.type !== "search" && !document.querySelector("dialog[open]")) void stopAnswer();
      else if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        open(true);
        document.getElementById("search").focus();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [isOpen]);
  const menu = () => open(true);
  const close = () => open(false);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); (document.getElementById("message") ?? document.getElementById("main")).focus(); }}>${place.view === "chat" ? "To the message" : "To the content"}</a>
    <div class=${`frame ${isOpen ? "has-menu" : ""}`}>
      <${Sidebar} view=${place.view} onClose=${close} />
      <div class="shade" onClick=${close}></div>
      ${place.view === "chat" && html`<${ChatView} menu=${menu} />`}
      ${place.view === "models" && html`<${ModelsView} menu=${menu} />`}
      ${place.view === "activity" && html`<${ActivityView} menu=${menu} />`}
    </div>
    <${Deleted} />
    <div class="offscreen" role="status" aria-live="polite" id="announcements"></div>
    <${KeyPrompt} />
  `;
}

/** What was deleted last, while that can be undone. */
function Deleted() {
  const { deleted } = chatList.use();
  async function undo() {
    const { id } = deleted;
    await undoDeletion();
    location.hash = `#/chat/${id}`;
  }
  return html`<div role="status">${deleted && html`<p class="toast said">Deleted <span class="title" dir="auto">“${deleted.title || "Untitled"}”</span> <button class="button small" onClick=${undo}>Undo</button></p>`}</div>`;
}

render(html`<${App} />`, document.getElementById("app"));
