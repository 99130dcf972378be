// What the signed-in page shows: the chat list and the open conversation, redrawn from the store. Actions are the app's.

import { $, avatar, clock, day, dayOrClock, h, icon, iconButton, keyed, menu, moment } from './dom.js';
import { kindOf, shown } from './files.js';
import { Search } from './search.js';

const MEDIA = { image: '📷 Photo', video: '📹 Video', audio: '🎵 Audio', document: '📄 Document', location: '📍 Location' };
const TICKS = { pending: 'Waiting to be sent', sent: 'Sent', delivered: 'Delivered', read: 'Read', failed: 'Not sent' };
const EMOJI = ['👍', '❤️', '😂', '😮', '😢', '🙏'];
const EDITABLE = 15 * 60_000; // milliseconds; the server has the last word
const NEAR = 120; // pixels from an edge that count as being there

// --- messages as text and as elements --------------------------------------------------------------------------------

/** A message in one line. */
export function preview(m) {
  if (m.preview != null && m.preview !== '') return m.preview;
  const { body, caption, filename } = m.payload ?? {};
  if (m.is_deleted || m.type === 'text' || m.type === 'system') return body ?? '';
  if (MEDIA[m.type]) return [MEDIA[m.type], caption || filename].filter(Boolean).join(' ');
  return m.type === 'encrypted' ? '🔒 Encrypted message' : 'Message of an unknown kind';
}

const link = (href, text) => h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text);

/** Text with its web addresses as links. */
function linked(text) {
  return String(text).split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}])/).map((part, i) => (i % 2 ? link(part, part) : part));
}

function place(payload) {
  const [lat, lng] = payload.latitude != null ? [payload.latitude, payload.longitude] : String(payload.body ?? '').split(',');
  const at = [Number(lat), Number(lng)];
  if (!at.every(Number.isFinite)) return [h('div', null, MEDIA.location)];
  const coordinates = at.map((n) => n.toFixed(5)).join(', ');
  const url = `https://www.openstreetmap.org/?mlat=${at[0]}&mlon=${at[1]}#map=16/${at[0]}/${at[1]}`;
  return [h('div', null, '📍 ', link(url, payload.name || 'Location')), payload.address && h('div', null, payload.address),
    h('small', null, coordinates)];
}

function media(m) {
  const { caption } = m.payload ?? {};
  return [shown(m), caption && h('div', { class: 'body', dir: 'auto' }, linked(caption))];
}

function content(m) {
  if (m.is_deleted) return h('em', null, m.payload?.body || 'This message was deleted');
  if (m.type === 'text') return h('div', { class: 'body', dir: 'auto' }, linked(m.payload?.body ?? ''));
  if (m.type === 'location') return place(m.payload ?? {});
  if (MEDIA[m.type]) return media(m);
  return h('em', null, m.type === 'encrypted' ? '🔒 Encrypted message. This client cannot show it.'
    : `This client cannot show messages of the kind “${m.type}”.`);
}

function reactions(list) {
  const counts = new Map();
  for (const { emoji } of list ?? []) counts.set(emoji, (counts.get(emoji) ?? 0) + 1);
  return counts.size > 0 && h('div', { class: 'reactions' }, [...counts].map(([emoji, n]) => h('span', null, n > 1 ? `${emoji} ${n}` : emoji)));
}

function bubble(app, chat, m, status, withName) {
  const own = m.sender_id === app.store.me;
  const quote = m.reply_to_preview;
  return h('div', { class: `msg ${own ? 'own' : 'other'}${m.is_deleted ? ' gone' : ''}`, 'data-seq': m.seq },
    h('span', { class: 'sr' }, `${app.store.name(m.sender_id, chat)}: `),
    withName && h('div', { class: 'sender', 'aria-hidden': 'true' }, app.store.name(m.sender_id, chat)),
    m.forwarded && !m.is_deleted && h('small', null, 'Forwarded'),
    quote && !m.is_deleted && h('blockquote', null, h('b', null, quote.sender_name || app.store.name(quote.sender_id, chat)), h('div', null, preview(quote))),
    content(m),
    h('div', { class: 'meta' }, m.is_starred && h('span', { role: 'img', 'aria-label': 'Starred' }, '★'), m.edited_at && !m.is_deleted && 'edited', h('time', { datetime: m.created_at }, clock(m.created_at)),
      status && icon(status, TICKS[status])),
    reactions(m.reactions),
    m.error && h('div', { class: 'error' }, m.error, ' ',
      h('button', { type: 'button', class: 'link', onclick: () => app.outbox.retry(m.client_msg_id) }, 'Try again'), ' ',
      h('button', { type: 'button', class: 'link', onclick: () => app.outbox.remove(m.client_msg_id) }, 'Discard')),
    m.seq && iconButton('more', 'Message actions', (e) => menu(e.currentTarget, [
      !m.is_deleted && ['Reply', () => app.view.compose(chat, m, false)],
      !m.is_deleted && ['React…', () => reactTo(app, m)],
      !m.is_deleted && [m.is_starred ? 'Remove the star' : 'Star', () => app.star(chat, m, !m.is_starred)],
      own && m.type === 'text' && !m.is_deleted && Date.now() - Date.parse(m.created_at) < EDITABLE && ['Edit', () => app.view.compose(chat, m, true)],
      m.type === 'text' && !m.is_deleted && navigator.clipboard && ['Copy text', () => app.copy(m.payload.body)],
      ['Delete for me', () => app.deleteForMe(chat, m)],
      !m.is_deleted && mayDelete(app, chat, m) && ['Delete for everyone', () => app.deleteForEveryone(m)],
    ]), { 'data-f': 'more' }));
}

/** The sender may take a message back, and in a group an admin. */
function mayDelete(app, chat, m) {
  const role = chat.participants?.find((p) => p.user_id === app.store.me)?.role;
  return m.sender_id === app.store.me || (chat.type === 'group' && role === 'admin');
}

/** A choice of emoji, at the message; one's own takes it back. */
function reactTo(app, m) {
  const own = m.reactions?.find((r) => r.user_id === app.store.me)?.emoji;
  const at = $('log').querySelector(`[data-seq="${m.seq}"]`);
  if (!at) return;
  menu(at, [...new Set([own, ...EMOJI])].map((emoji) => emoji && [emoji === own ? `${emoji} Take back` : emoji, () => app.react(m, emoji === own ? null : emoji)]));
}

/** The log as a keyed list: days, messages, then what waits to be sent. */
function logItems(app, chat) {
  const { store } = app;
  const items = [];
  const notes = chat.loading ? 'Loading…' : chat.loadError ?? (chat.top && !chat.log.length && !app.outbox.of(chat.chat_id).length ? 'No messages yet.' : '');
  items.push({ key: 'top', sig: notes, make: () => h('p', { class: 'pill' }, notes,
    chat.loadError && !chat.loading && h('button', { type: 'button', class: 'link', onclick: () => app.loadOlder(chat) }, 'Try again')) });
  let lastDay = '', lastSender = '';
  const waiting = app.outbox.of(chat.chat_id).map((item) => ({ ...item, sender_id: store.me }));
  for (const m of [...chat.log, ...waiting]) {
    const today = day(m.created_at);
    if (today !== lastDay) {
      items.push({ key: `day ${today}`, sig: '', make: () => h('p', { class: 'pill', role: 'separator' }, today) });
      lastSender = '';
    }
    lastDay = today;
    if (m.type === 'system') {
      items.push({ key: m.seq, sig: m.rev, make: () => h('p', { class: 'pill' }, m.payload?.body ?? '') });
      lastSender = '';
      continue;
    }
    const own = m.sender_id === store.me;
    const status = !own || m.is_deleted ? '' : m.seq ? store.statusOf(chat, m) : m.error ? 'failed' : 'pending';
    const withName = chat.type === 'group' && !own && m.sender_id !== lastSender;
    lastSender = m.sender_id;
    items.push({
      // An own message keeps its key when it moves from the outbox into the log.
      key: own && m.client_msg_id ? `own ${m.client_msg_id}` : m.seq,
      sig: JSON.stringify([m, status, withName && store.name(m.sender_id, chat)]),
      make: () => bubble(app, chat, m, status, withName),
    });
  }
  return items;
}

// --- the page --------------------------------------------------------------------------------------------------------

export class View {
  #app;
  #shown = null; // the chat in the log
  #toEnd = false; // show what was just sent
  #drafts = new Map();
  #about = null; // `{chat, m, edits}`: the message that is being answered or edited
  #search;

  constructor(app) {
    this.#app = app;
    this.#search = new Search(app, preview);
    $('new-chat').replaceChildren(icon('add'));
    $('settings').replaceChildren(icon('gear'));
    $('down').replaceChildren(icon('down'));
    $('composer').querySelector('.send').replaceChildren(icon('send'));
    $('attach').replaceChildren(icon('clip'));
    $('attach').addEventListener('click', () => $('file').click());
    $('file').addEventListener('change', () => this.#attach([...$('file').files]));
    $('text').addEventListener('paste', (e) => { if (e.clipboardData.files.length) { e.preventDefault(); this.#attach([...e.clipboardData.files]); } });
    $('log').addEventListener('dragover', (e) => e.preventDefault());
    $('log').addEventListener('drop', (e) => { e.preventDefault(); this.#attach([...e.dataTransfer.files]); });
    $('filter').addEventListener('input', () => { this.#search.typed($('filter').value); this.render(); });
    $('down').addEventListener('click', () => { $('log').scrollTop = $('log').scrollHeight; });
    $('log').addEventListener('scroll', () => this.#scrolled());
    addEventListener('resize', () => this.#grow());
    $('composer').addEventListener('submit', (e) => { e.preventDefault(); this.#send(); });
    $('text').addEventListener('input', () => { this.#grow(); app.typing($('text').value.trim() !== ''); });
    $('text').addEventListener('blur', () => app.typing(false));
    $('text').addEventListener('keydown', (e) => {
      if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
      e.preventDefault();
      this.#send();
    });
    addEventListener('keydown', (e) => {
      if (e.key !== 'Escape' || document.querySelector('dialog, .menu')) return;
      if (this.#about) this.compose(null); else app.close();
    });
  }

  render() {
    const { store } = this.#app;
    const unread = [...store.chats.values()].filter((chat) => store.unread(chat) && !store.isMuted(chat)).length;
    document.title = unread ? `(${unread}) Chats` : 'Chats';
    this.#renderMe();
    this.#renderChats();
    this.#search.render();
    this.#renderConversation();
  }

  /** `text` is null when all is well. */
  banner(text) {
    $('banner').textContent = text ?? '';
    $('banner').hidden = !text;
  }

  #renderMe() {
    const { profile, store } = this.#app;
    const name = profile.display_name || profile.phone;
    keyed($('me'), [{ key: 'me', sig: JSON.stringify([name, profile.avatar_url]),
      make: () => h('span', { class: 'who' }, avatar(name, store.me, profile.avatar_url), h('b', null, name)) }]);
    $('me').setAttribute('aria-label', `Your profile: ${name}`);
  }

  // --- chat list ---

  #renderChats() {
    const { store } = this.#app;
    const wanted = $('filter').value.trim().toLowerCase();
    const chats = store.list().filter((chat) => store.chatName(chat).toLowerCase().includes(wanted));
    keyed($('chats'), chats.map((chat) => this.#row(chat)));
    $('no-chats').hidden = chats.length > 0 || !this.#app.loaded;
    $('no-chats').textContent = wanted ? 'No chat with this name.' : 'No chats yet. Use + to start one.';
  }

  #row(chat) {
    const app = this.#app, { store } = app;
    const name = store.chatName(chat);
    const waiting = app.outbox.of(chat.chat_id).at(-1);
    const last = waiting ? { ...waiting, timestamp: waiting.created_at, sender_id: store.me } : store.latest(chat);
    const status = waiting ? (waiting.error ? 'failed' : 'pending')
      : last?.message?.sender_id === store.me && !last.is_deleted && last.type !== 'system' ? store.statusOf(chat, last.message) : '';
    const state = {
      name, status, unread: store.unread(chat), muted: store.isMuted(chat), pinned: chat.is_pinned,
      time: last ? dayOrClock(last.timestamp) : '',
      text: last ? (chat.type === 'group' && last.type !== 'system' ? `${store.name(last.sender_id, chat)}: ` : '') + preview(last) : '',
      typing: chat.typing.size > 0, online: Boolean(store.presence.get(store.peer(chat))?.online),
      avatar: chat.avatar_url, open: app.openId === chat.chat_id,
    };
    return {
      key: chat.chat_id,
      sig: JSON.stringify(state),
      make: () => h('li', { class: state.open ? 'chat open' : 'chat' },
        h('button', { type: 'button', class: 'plain', 'data-f': 'open', 'aria-current': state.open && 'true', onclick: () => app.open(chat.chat_id) },
          avatar(name, store.peer(chat) ?? chat.chat_id, state.avatar, state.online),
          h('span', { class: 'lines' },
            h('span', { class: 'line' }, h('b', { dir: 'auto' }, name), h('time', null, state.time)),
            h('span', { class: 'line' },
              state.typing ? h('span', { class: 'grow accent' }, 'typing…')
                : h('span', { class: 'grow' }, status && icon(status, TICKS[status]), h('span', { dir: 'auto' }, state.text)),
              state.muted && icon('mute', 'Muted'), state.pinned && icon('pin', 'Pinned'),
              state.unread > 0 && h('span', { class: state.muted ? 'badge muted' : 'badge', 'aria-label': `${state.unread} unread` }, state.unread > 999 ? '999+' : state.unread)))),
        iconButton('more', `Actions for ${name}`, (e) => menu(e.currentTarget, this.#chatActions(chat)), { 'data-f': 'more' })),
    };
  }

  #chatActions(chat) {
    const app = this.#app, peer = app.store.peer(chat);
    const until = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString();
    const mute = app.store.isMuted(chat) ? [['Unmute', () => app.mute(chat, false)]] : [
      ['Mute for 8 hours', () => app.mute(chat, true, until(8))],
      ['Mute for a week', () => app.mute(chat, true, until(168))],
      ['Mute always', () => app.mute(chat, true)],
    ];
    return [
      [chat.is_pinned ? 'Unpin' : 'Pin', () => app.pin(chat, !chat.is_pinned)], ...mute,
      peer && ['Contact info', () => app.showPerson(peer)],
      chat.type === 'group' && ['Group info', () => app.showGroup(chat.chat_id)],
      peer && [app.store.blocked.has(peer) ? 'Unblock' : 'Block', () => app.block(peer, !app.store.blocked.has(peer))],
    ];
  }

  // --- conversation ---

  #renderConversation() {
    const app = this.#app;
    const chat = app.store.chats.get(app.openId);
    document.body.classList.toggle('in-chat', Boolean(chat));
    $('conv-open').hidden = !chat;
    $('conv-none').hidden = Boolean(chat);
    if (chat) this.#renderHead(chat);
    this.#renderLog(chat);
  }

  #renderHead(chat) {
    const app = this.#app, { store } = app;
    const name = store.chatName(chat), peer = store.peer(chat);
    const presence = store.presence.get(peer);
    const typing = [...chat.typing.keys()];
    const about = typing.length ? (peer ? 'typing…' : `${typing.map((id) => store.name(id, chat)).join(', ')} typing…`)
      : presence?.online ? 'online' : presence?.last_seen ? `last seen ${moment(presence.last_seen)}`
        : chat.type === 'group' && chat.participants?.length ? `${chat.participants.length} members` : '';
    keyed($('conv-head'), [{ key: 'head', sig: JSON.stringify([chat.chat_id, name, about, chat.avatar_url, presence?.online]), make: () =>
      h('div', { class: 'who' },
        iconButton('back', 'Back to the chats', () => app.close(), { class: 'icon back', 'data-f': 'back' }),
        avatar(name, peer ?? chat.chat_id, chat.avatar_url, presence?.online),
        h('div', { class: 'lines' }, h('b', { dir: 'auto' }, name), h('small', { role: 'status', class: typing.length ? 'accent' : '' }, about)),
        iconButton('more', 'Chat actions', (e) => menu(e.currentTarget, this.#chatActions(chat)), { 'data-f': 'more' })) }]);

    const blocked = store.blocked.has(peer);
    const role = chat.participants?.find((p) => p.user_id === store.me)?.role;
    const closed = chat.is_admin_only && role !== 'admin';
    const notice = blocked ? 'You blocked this person.' : closed ? 'Only admins can send messages.' : '';
    $('notice').hidden = !notice;
    $('composer').hidden = Boolean(notice);
    if ($('notice').dataset.text === notice) return;
    $('notice').dataset.text = notice;
    $('notice').replaceChildren(`${notice} `);
    if (blocked) $('notice').append(h('button', { type: 'button', class: 'link', onclick: () => app.block(store.peer(store.chats.get(app.openId)), false) }, 'Unblock'));
  }

  #renderLog(chat) {
    const log = $('log'), text = $('text');
    const moved = this.#shown !== (chat?.chat_id ?? null);
    if (moved) {
      if (this.#shown && !this.#about?.edits) this.#drafts.set(this.#shown, text.value);
      this.#about = null;
      this.#shown = chat?.chat_id ?? null;
      text.value = this.#drafts.get(this.#shown) ?? '';
      keyed(log, []);
      this.compose(null);
      this.#grow();
    }
    if (!chat) return;
    const first = log.querySelector('[data-seq]');
    const firstTop = first?.offsetTop ?? 0;
    const atEnd = moved || this.#toEnd || log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
    this.#toEnd = false;
    log.setAttribute('aria-busy', String(Boolean(chat.loading)));
    keyed(log, logItems(this.#app, chat));
    // Stay at the end, or keep in place what is being looked at when older messages come in above it.
    if (atEnd) log.scrollTop = log.scrollHeight;
    else if (first?.isConnected) log.scrollTop += first.offsetTop - firstTop;
    if (moved && !matchMedia('(pointer: coarse)').matches) text.focus();
    this.#scrolled();
  }

  /** Shows the message in this place of the open chat, which is in the log. */
  point(seq) {
    const message = $('log').querySelector(`[data-seq="${seq}"]`);
    if (!message) return false;
    message.scrollIntoView({ block: 'center' });
    message.classList.add('pointed');
    setTimeout(() => message.classList.remove('pointed'), 2000);
    return true;
  }

  #scrolled() {
    const log = $('log');
    const chat = this.#app.store.chats.get(this.#shown);
    $('down').hidden = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
    if (chat && log.scrollTop < NEAR && !chat.loadError) this.#app.loadOlder(chat);
  }

  #grow() {
    const text = $('text');
    text.style.height = 'auto';
    text.style.height = `${Math.min(text.scrollHeight, 160)}px`;
  }

  /** What is typed next answers this message, or replaces what it says; without one it stands for itself. */
  compose(chat, m = null, edits = false) {
    const text = $('text');
    if (this.#about?.edits) text.value = '';
    this.#about = m && { chat, m, edits };
    $('about').hidden = !m;
    if (!m) return this.#grow();
    const title = edits ? 'Edit' : `Answer to ${this.#app.store.name(m.sender_id, chat)}`;
    $('about').replaceChildren(h('span', { class: 'lines' }, h('b', null, title), h('small', { dir: 'auto' }, preview(m))),
      iconButton('close', 'Cancel', () => this.compose(null)));
    if (edits) text.value = m.payload.body;
    this.#grow();
    text.focus();
  }

  /** Sends files, one message each; what is typed stands below the first that can have it. */
  async #attach(files) {
    $('file').value = '';
    for (const file of files.slice(0, 10)) {
      const kind = kindOf(file);
      const caption = kind === 'audio' || this.#about ? '' : $('text').value.trim();
      if (!await this.#app.sendFile(file, kind, caption)) return;
      if (caption) { $('text').value = ''; this.#grow(); }
      this.#toEnd = true;
    }
  }

  async #send() {
    const text = $('text');
    const body = text.value.trim();
    if (!body) return;
    const about = this.#about;
    if (about?.edits) {
      if (body === about.m.payload.body || await this.#app.edit(about.m, body)) this.compose(null);
      return;
    }
    const quote = about && { message_id: about.m.message_id, sender_id: about.m.sender_id, sender_name: this.#app.store.name(about.m.sender_id, about.chat),
      type: about.m.type, preview: preview(about.m) };
    if (!this.#app.sendText(body, quote)) return;
    this.compose(null);
    this.#toEnd = true;
    text.value = '';
    this.#grow();
    text.focus();
  }
}
