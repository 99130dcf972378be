// Messages found by what is typed into the search box: asked for while typing, shown below the chats, opened in their place.

import { api, explain } from './api.js';
import { $, dayOrClock, h, keyed } from './dom.js';

const WAIT = 250; // ms after the last key
const LEAST = 2; // characters; single letters find everything, but not 字

export class Search {
  #app;
  #preview;
  #timer = 0;
  #q = '';
  #page = { results: [], next: null, note: '' };

  constructor(app, preview) {
    this.#app = app;
    this.#preview = preview;
  }

  /** The box holds this now. */
  typed(text) {
    const q = text.trim() && text.trimStart(); // a space at the end says that the word is whole
    if (q === this.#q) return;
    this.#q = q;
    this.#page = { results: [], next: null, note: '' };
    clearTimeout(this.#timer);
    if (q.length < LEAST && !/[^\0-\u02ff]/.test(q)) return;
    this.#page.note = 'Searching…';
    this.#timer = setTimeout(() => this.#ask(q), WAIT);
  }

  async #ask(q, cursor) {
    let note = '', results = [], next = null;
    try {
      const page = await api('GET', `/messages/search?limit=20&q=${encodeURIComponent(q)}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
      ({ results, next_cursor: next } = page);
      if (!cursor && !results.length) note = 'No message with these words.';
    } catch (error) {
      note = explain(error);
    }
    if (q !== this.#q) return; // typed on meanwhile
    this.#page = { results: [...(cursor ? this.#page.results : []), ...results], next, note };
    this.#app.changed();
  }

  render() {
    const { results, next, note } = this.#page;
    $('found').hidden = !results.length && !note;
    const { store } = this.#app;
    const rows = results.filter(({ message: m }) => store.chats.has(m.chat_id)).map(({ message: m }) => {
      const chat = store.chats.get(m.chat_id);
      const who = store.name(m.sender_id, chat), text = this.#preview(m);
      return { key: m.message_id, sig: JSON.stringify([m.rev, who, store.chatName(chat)]), make: () => h('div', { class: 'chat' },
        h('button', { type: 'button', class: 'plain', onclick: () => this.#app.showMessage(m.chat_id, m.seq) }, h('span', { class: 'lines' },
          h('span', { class: 'line' }, h('b', { dir: 'auto' }, store.chatName(chat)), h('time', { datetime: m.created_at }, dayOrClock(m.created_at))),
          h('span', { class: 'line' }, h('span', { class: 'grow', dir: 'auto' }, `${who}: ${m.payload?.caption || text}`))))) };
    });
    rows.unshift({ key: 'head', sig: note, make: () => h('p', { class: 'hint', role: 'status' }, note || 'Messages') });
    if (next) rows.push({ key: 'more', sig: next, make: () => h('button', { type: 'button', class: 'link', onclick: () => this.#ask(this.#q, next) }, 'Show more') });
    keyed($('found'), rows);
  }
}
