// Text files that go with a message: read, checked, and written behind it as blocks of code.

/** A file of more bytes is no part of a message: hardly a context holds it. */
const MOST_BYTES = 2_000_000;
/** A pasted text of more characters becomes an attachment, so that the box stays quick. */
export const LONG_PASTE_CHARS = 20_000;

/** Returns `{name, text}`. Throws an Error for what isn't text. */
export async function readAttachment(file) {
  if (file.size > MOST_BYTES) {
    throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; a message takes files of at most ${MOST_BYTES / 1e6} MB.`);
  }
  const kind = file.type.split("/")[0];
  if (["image", "audio", "video"].includes(kind) && file.type !== "image/svg+xml") {
    throw new Error(`${file.name || "This"} is ${kind}; the models here read text alone.`);
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (!text.includes("\0")) return { name: file.name, text };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new Error(`${file.name} isn't text in UTF-8; save it as such, or copy the text of it.`);
}

/** Returns a message with the attachments behind it, each in a fence that is longer than any within. */
export function withAttachments(said, attachments) {
  const blocks = attachments.map(({ name, text }) => {
    const longest = Math.max(2, ...[...text.matchAll(/^ *(`{3,})/gm)].map((found) => found[1].length));
    const fence = "`".repeat(longest + 1);
    const ending = /\.([a-z0-9+#]{1,12})$/i.exec(name)?.[1] ?? "";
    return `${name}:\n${fence}${ending}\n${text.replace(/\n$/, "")}\n${fence}`;
  });
  return [said, ...blocks].filter(Boolean).join("\n\n");
}
