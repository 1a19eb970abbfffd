// A huge text in parts, of which a browser lays out only those that are seen.

const CHARS_PER_PART = 4000;

/** Returns the text's lines in parts. A part ends with a line that isn't empty, or within one that is longer than a part.
 *
 * The line end between two parts belongs to neither: each is a block. */
export function textParts(text) {
  const parts = [];
  let lines = [];
  let nChars = 0;
  const end = () => {
    if (lines.length) parts.push(lines.join("\n"));
    lines = [];
    nChars = 0;
  };
  for (let line of text.split("\n")) {
    while (line.length > CHARS_PER_PART) {
      end();
      const place = line.lastIndexOf(" ", CHARS_PER_PART) + 1 || CHARS_PER_PART;
      parts.push(line.slice(0, place));
      line = line.slice(place);
    }
    lines.push(line);
    nChars += line.length + 1;
    if (nChars >= CHARS_PER_PART && line !== "") end();
  }
  end();
  return parts;
}
