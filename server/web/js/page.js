// A view that isn't a chat: a head with its title, and its content in a column.
import { html } from "./base.js";
import { Icon } from "./icons.js";

export function Page({ title, menu, children }) {
  return html`
    <main class="page" id="main" tabindex="-1">
      <header class="head">
        <button class="icon-button only-narrow" aria-label="Show the list of chats" aria-controls="sidebar" onClick=${menu}><${Icon} name="menu" /></button>
        <h1>${title}</h1>
      </header>
      <div class="scroller"><div class="column wide-column">${children}</div></div>
    </main>
  `;
}
