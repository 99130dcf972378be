// Start and wiring: login or chats, the one tab that holds the socket, and the actions that the views offer.

import { SESSION_KEY, api, explain, session } from './api.js';
import { $, confirmed, h, toast } from './dom.js';
import { followInvite, showGroup } from './groups.js';
import { upload } from './files.js';
import { Outbox } from './outbox.js';
import { showLogin, showNewChat, showPerson, showSettings } from './panels.js';
import { Socket } from './socket.js';
import { Store } from './store.js';
import { claimSocket } from './tabs.js';
import { View } from './view.js';

const NOTE = 'wa.note'; // why the last session ended, for the login page
const PAGE = 50;
const ACK_BATCH = 500; // message ids in one `message.delivered`: about 20 KB of the 64 KiB a frame may have
const FAR_BACK = 40; // pages read to get to a message that was found
const TYPING_EVERY = 3000; // the server forgets after 5 s

function show(id) {
  for (const part of ['login', 'app', 'elsewhere']) $(part).hidden = part !== id;
}

/** Runs `work` soon, once however often it is asked for meanwhile, and never twice at the same time. */
function soon(ms, work) {
  let timer = 0, running = false, again = false;
  return async function ask() {
    if (running) { again = true; return; }
    if (timer) return;
    timer = setTimeout(async () => {
      timer = 0;
      running = true;
      try { await work(); } finally { running = false; }
      if (again) { again = false; ask(); }
    }, ms);
  };
}

class App {
  openId = null;
  loaded = false;
  #live = false; // connected and up to date
  #early = []; // events that came before the snapshot
  #toAck = new Set();
  #typingAt = 0;
  #round = 0; // of connecting
  #subscribed = new Set();
  #ack;
  #read;

  constructor(user, isNew) {
    this.profile = { status_text: '', display_name: '', ...user };
    this.isNew = isNew;
    this.changed = soon(16, () => this.#render());
    this.#ack = soon(150, () => this.#sendAcks());
    this.#read = soon(100, () => this.#markRead());
    const sync = soon(300, () => this.#catchUp());
    this.store = new Store(user.id, {
      changed: this.changed, sync, refetch: (id) => this.#refetch(id),
      received: (ids) => { for (const id of ids) this.#toAck.add(id); if (ids.length) this.#ack(); },
    });
    this.socket = new Socket({
      onOpen: () => this.#connected(),
      onEvent: (event, data) => (this.#live ? this.store.apply(event, data) : this.#early.push([event, data])),
      onState: (state) => this.#state(state),
      onReplaced: () => this.claim.drop(),
      onRevoked: () => session.end('This session was ended. Log in again.'),
    });
    this.outbox = new Outbox(user.id, {
      request: (event, data) => this.socket.request(event, data), ready: () => this.#live && this.socket.isOpen,
      onSent: (item, answer) => this.store.sent(item, answer), onChange: this.changed,
      onRefused: ({ chat_id }, { code }) => { if (code === 'USER_BLOCKED') this.store.blocked.add(this.store.peer(this.store.chats.get(chat_id))); },
    });
    this.view = new View(this);
    this.claim = claimSocket({ onGain: () => this.#here(), onLose: () => this.#elsewhere() });
    $('new-chat').onclick = () => showNewChat(this);
    $('settings').onclick = $('me').onclick = () => showSettings(this);
    addEventListener('online', () => this.socket.nudge());
    addEventListener('focus', () => { this.socket.nudge(); this.#read(); });
    document.addEventListener('visibilitychange', this.#read);
    addEventListener('hashchange', () => this.#route());
    setInterval(() => this.store.tick(), 30_000);
    this.#route();
  }

  // --- which tab, and the connection ---

  #here() {
    show('app');
    this.outbox.reload();
    this.socket.start();
    if (this.isNew) showSettings(this);
  }

  #elsewhere() {
    this.#live = false;
    this.socket.stop();
    document.querySelectorAll('dialog').forEach((box) => box.close());
    show('elsewhere');
    $('elsewhere').replaceChildren(h('div', { class: 'card' }, h('h1', null, 'Open in another tab'),
      h('p', null, 'Your chats are open in another tab or window of this browser.'),
      h('button', { type: 'button', class: 'primary', onclick: () => this.claim.take() }, 'Use here')));
  }

  #state(state) {
    if (state === 'open') return; // all is well once the snapshot is there
    this.#live = false;
    this.store.presence.clear();
    const waiting = navigator.onLine ? 'No connection to the server. Trying again in a moment.' : 'You are offline. Trying again in a moment.';
    this.view.banner({ connecting: 'Connecting…', waiting }[state]);
    this.changed();
  }

  /** The socket is open: take the snapshot, then what came meanwhile, then send what waits. */
  async #connected() {
    const round = ++this.#round;
    this.#early = [];
    for (let pause = 1000; ; pause = Math.min(30_000, pause * 2)) {
      try {
        if (!this.loaded) await Promise.all([this.loadProfile(), this.loadContacts()]);
        await this.#loadChats();
        await this.#sync();
        break;
      } catch (error) {
        if (round !== this.#round || !this.socket.isOpen) return;
        this.view.banner(`Your chats could not be loaded. ${explain(error)}`);
        await new Promise((done) => setTimeout(done, Math.max(pause, error.retryAfter * 1000 || 0)));
      }
      if (round !== this.#round || !this.socket.isOpen) return;
    }
    if (round !== this.#round || !this.socket.isOpen) return;
    this.loaded = this.#live = true;
    for (const [event, data] of this.#early.splice(0)) this.store.apply(event, data);
    this.view.banner(null);
    for (const chat of this.store.chats.values()) {
      chat.stale = chat.log.length > 0; // receipts that came meanwhile have no rev
      chat.loadError = null;
      for (const m of chat.log) this.#stored(m);
    }
    this.outbox.pump();
    this.#subscribed.clear();
    this.#ack();
    this.#opened();
    this.changed();
  }

  async loadProfile() {
    this.profile = await api('GET', '/users/me');
    this.changed();
  }

  async loadContacts() {
    const contacts = await api('GET', '/users/contacts');
    this.store.contacts = new Map(contacts.map((c) => [c.user_id, c]));
    for (const c of contacts) this.store.blocked[c.is_blocked ? 'add' : 'delete'](c.user_id);
    this.changed();
  }

  async #loadChats() {
    for (let cursor = '', page; cursor !== null; cursor = page.has_more ? page.next_cursor : null) {
      page = await api('GET', `/chats?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      for (const chat of page.chats) this.store.putChat(chat);
    }
  }

  async #sync() {
    for (let complete = false; !complete;) {
      const answer = await api('POST', '/sync', { chats: this.store.revs() });
      this.store.applySync(answer);
      for (const { messages } of answer.chats) for (const m of messages) this.#stored(m);
      complete = answer.complete || !answer.chats.length;
    }
  }

  async #catchUp() {
    try { await this.#sync(); } catch { if (this.#live) this.socket.start(); } // connect anew rather than go on with a gap
  }

  /** A message seen in the log needs no sending any more. */
  #stored(m) { if (m.sender_id === this.store.me && m.client_msg_id) this.outbox.remove(m.client_msg_id); }

  /** Asks for the presence of people not asked for yet. */
  #subscribe() {
    const peers = [...this.store.chats.values()].map((chat) => this.store.peer(chat)).filter((id) => id && !this.#subscribed.has(id));
    for (let i = 0; i < peers.length; i += 500) this.socket.send('presence.subscribe', { user_ids: peers.slice(i, i + 500) });
    for (const id of peers) this.#subscribed.add(id);
  }

  async #refetch(id) {
    try { this.store.putChat(await api('GET', `/chats/${id}`)); } catch { /* the next sync brings it */ }
  }

  // --- receipts and typing ---

  async #sendAcks() {
    if (!this.#live) return;
    const ids = [...this.#toAck].slice(0, ACK_BATCH);
    if (!ids.length) return;
    for (const id of ids) this.#toAck.delete(id);
    try {
      await this.socket.request('message.delivered', { message_ids: ids });
      if (this.#toAck.size) this.#ack();
    } catch (error) {
      if (error.status >= 4000 && error.status < 4010) return; // refused for good
      for (const id of ids) this.#toAck.add(id);
      setTimeout(this.#ack, (error.retryAfter || 2) * 1000);
    }
  }

  async #markRead() {
    const chat = this.store.chats.get(this.openId);
    if (!chat || !this.#live || document.visibilityState !== 'visible' || !document.hasFocus() || !this.store.unread(chat)) return;
    const newest = this.store.newestForeign(chat);
    if (!newest || newest.seq <= chat.readSeq) return;
    const before = chat.readSeq;
    chat.readSeq = newest.seq;
    this.changed();
    try {
      await this.socket.request('message.read', { chat_id: chat.chat_id, up_to_message_id: newest.message_id });
    } catch (error) {
      if (error.status >= 4000 && error.status < 4010) return;
      chat.readSeq = before;
      setTimeout(this.#read, (error.retryAfter || 2) * 1000);
    }
  }

  typing(is) {
    const due = is ? Date.now() - this.#typingAt > TYPING_EVERY : this.#typingAt > 0;
    if (!due || !this.openId || !this.#live) return;
    this.#typingAt = is ? Date.now() : 0;
    this.socket.send(is ? 'typing.start' : 'typing.stop', { chat_id: this.openId });
  }

  // --- what is open ---

  open(id) { location.hash = `chat/${id}`; }
  close() { if (this.openId) location.hash = ''; }

  #route() {
    this.typing(false);
    const code = /^#join=(.+)$/.exec(location.hash)?.[1];
    if (code) {
      // The code is a secret: it does not stay in the address bar.
      history.replaceState(null, '', location.pathname);
      followInvite(this, code);
    }
    this.openId = /^#chat\/(.+)$/.exec(location.hash)?.[1] ?? null;
    this.#opened();
    this.changed();
  }

  /** Opens the chat at a message, reading back until it is there. */
  async showMessage(id, seq) {
    if (this.openId !== id) { this.open(id); this.#route(); }
    const chat = this.store.chats.get(id);
    for (let pages = 0; chat && pages < FAR_BACK && this.openId === id && chat.lo > seq && !chat.top && !chat.loadError; pages++) {
      if (chat.loading) await new Promise((done) => setTimeout(done, 50));
      else await this.#load(chat, chat.log[0]?.message_id);
    }
    if (this.openId !== id) return;
    this.#render();
    if (!this.view.point(seq)) toast('This message is too far back to be shown here.');
  }

  #opened() {
    const chat = this.store.chats.get(this.openId);
    if (!chat || !this.#live) return;
    if (chat.stale) this.#load(chat, '');
    else if (chat.log.length < PAGE) this.loadOlder(chat);
    chat.stale = false;
    if (chat.type === 'group' && !chat.participants?.length) this.#refetch(chat.chat_id); // the list comes without them
    this.#read();
  }

  loadOlder(chat) {
    if (chat.loading || chat.top || !this.loaded) return;
    this.#load(chat, chat.log[0]?.message_id);
  }

  async #load(chat, cursor) {
    const { epoch } = chat;
    chat.loading = true;
    chat.loadError = null;
    this.changed();
    try {
      const page = await api('GET', `/chats/${chat.chat_id}/messages?limit=${PAGE}${cursor ? `&cursor=${cursor}` : ''}`);
      if (chat.epoch === epoch) this.store.putPage(chat, page.messages, page.has_more);
    } catch (error) {
      chat.loadError = explain(error);
    }
    chat.loading = false;
    this.#read();
    this.changed();
  }

  #render() {
    if (this.loaded && this.openId && !this.store.chats.has(this.openId)) return this.close();
    if (this.#live) this.#subscribe();
    this.view.render();
    this.#read();
  }

  // --- actions ---

  /** Waits for `work`; on failure tells the person and answers false. */
  async attempt(work) {
    try { return await work; } catch (error) {
      toast(explain(error));
      return false;
    }
  }

  sendText(body, quote) {
    this.#typingAt = 0; // a message ends the typing
    try { this.outbox.add(this.openId, 'text', { body }, quote); return true; } catch (error) {
      toast(error.message);
      return false;
    }
  }

  /** Uploads a file to the open chat, and sends it. What the server knows of it is kept beside the id, to be shown until the message comes back. */
  async sendFile(file, kind, caption) {
    const chat = this.openId;
    const done = (share) => toast(`Uploading ${file.name}: ${Math.round(share * 100)} %`);
    done(0);
    const media = await this.attempt(upload(file, kind, done));
    if (!media) return false;
    toast('');
    const { media_id, url, thumbnail_url, size_bytes, width, height } = media;
    const payload = { media_id, media_url: url, thumbnail_url, size_bytes, width, height, file_name: file.name };
    if (caption) payload.caption = caption;
    if (kind === 'document') payload.filename = file.name;
    this.outbox.add(chat, kind, payload);
    return true;
  }

  async startChat(userId) {
    const chat = await this.attempt(api('POST', '/chats', { type: 'direct', participant_id: userId }));
    if (!chat) return false;
    this.shown(chat);
    return true;
  }

  /** Takes in a chat that was just made or joined, and opens it. */
  shown(chat) {
    this.store.putChat(chat);
    this.open(chat.chat_id);
  }

  async deleteForMe(chat, m) {
    if (!await confirmed('Delete for me?', 'The message disappears from your devices. Others keep it.', 'Delete')) return;
    if (await this.attempt(api('DELETE', `/messages/${m.message_id}?for=me`)) !== false) this.store.hide(chat, m.message_id);
  }

  // What came of these is told by an event, also to this device.

  async deleteForEveryone(m) {
    if (!await confirmed('Delete for everyone?', 'Everybody sees that a message was deleted, but not what it said.', 'Delete')) return;
    await this.attempt(api('DELETE', `/messages/${m.message_id}?for=everyone`));
  }

  async edit(m, body) { return await this.attempt(api('PATCH', `/messages/${m.message_id}`, { payload: { body } })) !== false; }

  async react(m, emoji) { await this.attempt(api(emoji ? 'POST' : 'DELETE', `/messages/${m.message_id}/react`, emoji ? { emoji } : undefined)); }

  async star(chat, m, on) { await this.attempt(api(on ? 'POST' : 'DELETE', `/messages/${m.message_id}/star`)); }

  async copy(text) {
    if (await this.attempt(navigator.clipboard.writeText(text)) !== false) toast('Copied.');
  }

  async mute(chat, is_muted, mute_until = null) {
    if (await this.attempt(api('PATCH', `/chats/${chat.chat_id}/mute`, { is_muted, mute_until })) !== false) Object.assign(chat, { is_muted, mute_until });
    this.changed();
  }

  async pin(chat, is_pinned) {
    if (await this.attempt(api('PUT', `/chats/${chat.chat_id}/pin`, { is_pinned })) !== false) chat.is_pinned = is_pinned;
    this.changed();
  }

  async block(userId, on) {
    if (await this.attempt(api(on ? 'POST' : 'DELETE', `/users/${userId}/block`)) !== false) this.store.blocked[on ? 'add' : 'delete'](userId);
    this.changed();
  }

  showPerson(userId) { showPerson(this, userId); }

  showGroup(id) { showGroup(this, id); }

  async logout() {
    const waiting = this.outbox.items.length;
    if (!await confirmed('Log out?', waiting ? `${waiting} message(s) were not sent yet and will be lost.` : 'You can log in again with your phone number.', 'Log out')) return;
    const { refresh_token } = session.get() ?? {};
    if (await this.attempt(api('POST', '/auth/logout', { refresh_token })) === false && session.get()) return;
    Outbox.clear();
    session.end('You are logged out.');
  }
}

function start(isNew = false) {
  const now = session.get();
  if (now) new App(now.user, isNew);
  else {
    show('login');
    showLogin(sessionStorage.getItem(NOTE), start);
    sessionStorage.removeItem(NOTE);
  }
}

// A new page is the surest way to forget everything about an ended session.
session.onEnd = (note) => {
  sessionStorage.setItem(NOTE, note);
  location.hash = '';
  location.reload();
};
addEventListener('storage', ({ key, oldValue, newValue }) => {
  const user = (text) => { try { return JSON.parse(text)?.user.id; } catch { return undefined; } };
  if (key === null || (key === SESSION_KEY && user(oldValue) !== user(newValue))) location.reload();
});
start();
