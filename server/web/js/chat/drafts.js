// What is written and not sent yet, by chat: it outlives a reload, and ends with the tab.

const PREFIX = "corral.draft.";
/** A longer draft is kept while the page is open, and no longer. */
const MOST_CHARS = 200_000;
const drafts = new Map();

export function draftOf(chat) {
  return drafts.get(chat) ?? sessionStorage.getItem(PREFIX + chat) ?? "";
}

export function keepDraft(chat, text) {
  if (text === "") {
    drafts.delete(chat);
    sessionStorage.removeItem(PREFIX + chat);
    return;
  }
  drafts.set(chat, text);
  try {
    if (text.length <= MOST_CHARS) sessionStorage.setItem(PREFIX + chat, text);
  } catch (error) {
    console.warn("the draft won't outlive a reload", error); // the browser's storage is full, or off
  }
}
