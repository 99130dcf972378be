// Messages that wait for `message.sent`, kept in localStorage and sent one after the other, in order. A repeat carries the
// same client_msg_id, so the server stores it once however often it is sent.

import { explain, sleep, uuid } from './api.js';

const KEY = 'wa.outbox';
const FRAME = 60_000; // bytes; the server closes the socket on frames above 64 KiB

export class Outbox {
  #io;
  #user;
  #busy = false;

  /** `io`: `request(event, data)`, `ready()`, `onSent(item, answer)`, `onChange()`, `onRefused(item, error)`. */
  constructor(user, io) {
    this.#io = io;
    this.#user = user;
    this.reload();
  }

  /** Reads what another tab may have left. Another account's messages are not ours to send. */
  reload() {
    let kept = null;
    try { kept = JSON.parse(localStorage.getItem(KEY)); } catch { /* unreadable: start anew */ }
    this.items = kept?.user === this.#user ? kept.items : [];
  }

  static clear() { localStorage.removeItem(KEY); }

  of(chatId) { return this.items.filter((item) => item.chat_id === chatId); }

  /** Queues a message, in answer to `quote` if there is one; throws when it can never be sent. */
  add(chat_id, type, payload, quote = null) {
    const item = { client_msg_id: uuid(), chat_id, type, payload, created_at: new Date().toISOString(),
      reply_to_message_id: quote?.message_id ?? null, reply_to_preview: quote };
    if (new TextEncoder().encode(JSON.stringify(item)).length > FRAME) throw new Error('This message is too long to send.');
    this.items.push(item);
    this.#save();
    this.pump();
  }

  /** The message is known to be stored, or is given up. */
  remove(client_msg_id) {
    const left = this.items.filter((item) => item.client_msg_id !== client_msg_id);
    if (left.length === this.items.length) return;
    this.items = left;
    this.#save();
  }

  retry(client_msg_id) {
    for (const item of this.items) if (item.client_msg_id === client_msg_id) delete item.error;
    this.#save();
    this.pump();
  }

  async pump() {
    if (this.#busy) return;
    this.#busy = true;
    for (let failures = 0, item; this.#io.ready() && (item = this.items.find((i) => !i.error));) {
      const { client_msg_id, chat_id, type, payload, reply_to_message_id = null } = item;
      try {
        const answer = await this.#io.request('message.send', { chat_id, client_msg_id, type, payload, reply_to_message_id });
        failures = 0;
        this.#io.onSent(item, answer);
        this.remove(client_msg_id);
      } catch (error) {
        // 4000 to 4009 are the server's final word; everything else may go better next time.
        if (error.status >= 4000 && error.status < 4010 && error.status !== 4001) {
          item.error = explain(error);
          this.#save();
          this.#io.onRefused(item, error);
        } else {
          await sleep(error.retryAfter ? error.retryAfter * 1000 : Math.min(30_000, 1000 * 2 ** failures++));
        }
      }
    }
    this.#busy = false;
  }

  #save() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ user: this.#user, items: this.items }));
    } catch { /* storage is full: the message is still sent from memory */ }
    this.#io.onChange();
  }
}
