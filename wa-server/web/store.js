// What is known: chats, their messages, receipts, presence. Every message is seen once by (chat, seq); a row changes only for a
// higher rev; a gap in the revs of a chat asks for a sync. No network and no DOM here: `io` does what must be done.

const RANK = { sent: 1, delivered: 2, read: 3 };
const STATUS = ['', 'sent', 'delivered', 'read'];
const TIMERS = { '24h': 1, '7d': 7, '90d': 90 }; // days
const TYPING_TTL = 6000;

/** Where `seq` is, or belongs, in a log sorted by seq. */
function place(log, seq) {
  let low = 0, high = log.length;
  if (!high || log[high - 1].seq < seq) return high;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (log[mid].seq < seq) low = mid + 1; else high = mid;
  }
  return low;
}

export class Store {
  chats = new Map();
  contacts = new Map();
  blocked = new Set();
  presence = new Map();

  /** `io`: `changed()`, `sync()` (something was missed), `refetch(chatId)`, `received(messageIds)`. */
  constructor(me, io) { this.me = me; this.io = io; }

  // --- chats -------------------------------------------------------------------------------------------------------

  /** Takes a chat object. It brings the chat's data, not its messages: `rev` stays at what was applied. */
  putChat(snap) {
    const { rev, ...rest } = snap;
    let chat = this.chats.get(snap.chat_id);
    if (!chat) {
      chat = {
        rev, // all changes up to here are applied
        ahead: new Map(), // revs applied beyond a gap, with the seq of new messages
        own: [], // seqs of own messages whose rev is not known yet
        log: [], byId: new Map(), hidden: new Set(),
        lo: (snap.last_seq ?? 0) + 1, // everything visible from this seq on is in the log
        top: false, // nothing older exists
        epoch: 0, // changes when the log starts anew: pages asked for before do not fit any more
        marks: new Map(), // user -> {delivered, read}: watermarks
        readSeq: 0, typing: new Map(),
      };
      this.chats.set(snap.chat_id, chat);
    }
    const was = chat.last_message;
    const members = chat.participants;
    Object.assign(chat, rest);
    // Lists come without the members of groups.
    if (chat.type === 'group' && !rest.participants?.length && members?.length) chat.participants = members;
    if (was && (rest.last_message?.seq ?? 0) < was.seq && rest.last_seq < was.seq) chat.last_message = was;
    chat.unread = { count: snap.unread_count ?? 0, seq: snap.last_seq ?? 0 };
    this.io.changed();
    return chat;
  }

  dropChat(id) { this.chats.delete(id); this.io.changed(); }

  /** Chats as the list shows them: pinned first, then newest activity. */
  list() {
    const key = (chat) => this.latest(chat)?.timestamp ?? chat.created_at ?? '';
    return [...this.chats.values()].map((chat) => [chat, key(chat)])
      .sort(([a, at], [b, bt]) => (b.is_pinned ? 1 : 0) - (a.is_pinned ? 1 : 0) || (at < bt ? 1 : -1)).map(([chat]) => chat);
  }

  /** The newest message for the list: `{message?, sender_id, type, preview, timestamp}`. */
  latest(chat) {
    const message = chat.log.at(-1);
    if (!message || message.seq < (chat.last_message?.seq ?? 0)) return chat.last_message;
    return { ...message, message, timestamp: message.created_at };
  }

  unread(chat) {
    const from = Math.max(chat.unread.seq, chat.readSeq);
    let count = chat.unread.seq > chat.readSeq ? chat.unread.count : 0;
    for (let i = chat.log.length - 1; i >= 0 && chat.log[i].seq > from; i--) if (this.#counts(chat.log[i])) count++;
    return count;
  }

  /** The newest message that can be read, if any. */
  newestForeign(chat) { return chat.log.findLast((m) => this.#counts(m)); }

  isMuted(chat) { return chat.is_muted && !(chat.mute_until && Date.parse(chat.mute_until) <= Date.now()); }

  peer(chat) { return chat.type === 'direct' ? chat.participant?.id ?? null : null; }

  chatName(chat) {
    if (chat.type !== 'direct') return chat.name || 'Group';
    return this.peer(chat) ? this.name(this.peer(chat), chat) : chat.name || 'Deleted account';
  }

  name(userId, chat) {
    if (userId === this.me) return 'You';
    const contact = this.contacts.get(userId);
    const member = chat?.participants?.find((p) => p.user_id === userId);
    const shown = chat?.participant?.id === userId ? chat.participant.display_name || chat.name : member?.display_name;
    return contact?.nickname || shown || contact?.display_name || contact?.phone || 'Unknown person';
  }

  #counts(m) { return m.sender_id !== this.me && m.type !== 'system' && !m.is_deleted; }

  // --- messages ----------------------------------------------------------------------------------------------------

  #put(chat, message) {
    if (chat.hidden.has(message.message_id)) return;
    const at = place(chat.log, message.seq);
    const old = chat.log[at]?.seq === message.seq ? chat.log[at] : null;
    if (old && old.rev >= message.rev) {
      if (RANK[message.status] > RANK[old.status]) old.status = message.status;
      return;
    }
    const fresh = { ...message, acks: old?.acks ?? {} };
    if (old && RANK[old.status] > RANK[fresh.status]) fresh.status = old.status;
    chat.log.splice(at, old ? 1 : 0, fresh);
    chat.byId.set(fresh.message_id, fresh);
    if (old) this.#requote(chat, fresh);
    chat.last_seq = Math.max(chat.last_seq ?? 0, fresh.seq);
  }

  /** A message says something else now: so do the lines of it that its answers show. */
  #requote(chat, m) {
    for (const answer of chat.log) {
      if (answer.reply_to_message_id !== m.message_id || !answer.reply_to_preview) continue;
      answer.reply_to_preview = { ...answer.reply_to_preview, preview: null, type: m.type, payload: m.payload, is_deleted: m.is_deleted };
    }
  }

  /** A message that came by itself: below `lo` it is left to the history. */
  #arrive(chat, message) {
    if (this.#counts(message)) {
      this.io.received([message.message_id]);
      chat.typing.delete(message.sender_id);
    }
    if (message.seq >= chat.lo) this.#put(chat, message);
  }

  /** One page of older messages, or of the newest ones to see their present state. */
  putPage(chat, messages, hasMore) {
    for (const m of messages) this.#put(chat, m);
    chat.lo = Math.min(chat.lo, ...messages.map((m) => m.seq));
    if (!hasMore) { chat.top = true; chat.lo = 0; }
    this.io.received(messages.filter((m) => this.#counts(m) && m.status === 'sent').map((m) => m.message_id));
    this.io.changed();
  }

  /** An own message was stored: the answer has its place, the outbox item its content. */
  sent(item, answer) {
    const chat = this.chats.get(item.chat_id);
    if (!chat || chat.byId.has(answer.message_id)) return;
    if (answer.duplicate) return this.io.sync(); // stored earlier; what became of it since is not in the answer
    const { message_id, seq, rev, created_at = answer.timestamp } = answer;
    const days = TIMERS[chat.auto_delete_timer];
    const expires_at = days ? new Date(Date.parse(created_at) + days * 86_400_000).toISOString() : null;
    this.#put(chat, { ...item, message_id, seq, rev, created_at, expires_at, sender_id: this.me, status: 'sent', reactions: [] });
    if (rev) this.#note(chat, rev, seq); else chat.own.push(seq);
    this.io.changed();
  }

  /** Deleted for me. */
  hide(chat, messageId) {
    const message = chat.byId.get(messageId);
    chat.hidden.add(messageId);
    chat.byId.delete(messageId);
    chat.log = chat.log.filter((m) => m.message_id !== messageId);
    if (chat.last_message?.message_id === messageId || message?.seq === chat.last_seq) this.io.refetch(chat.chat_id);
    this.io.changed();
  }

  /** Sees to what time does: messages expire. */
  tick() {
    const now = Date.now();
    for (const chat of this.chats.values()) {
      const expired = chat.log.filter((m) => m.expires_at && Date.parse(m.expires_at) <= now);
      if (!expired.length) continue;
      for (const m of expired) chat.byId.delete(m.message_id);
      chat.log = chat.log.filter((m) => !expired.includes(m));
      this.io.refetch(chat.chat_id);
    }
    this.io.changed();
  }

  // --- revs and sync -----------------------------------------------------------------------------------------------

  /** Notes that the change `rev` was applied; `seq` when it was a new message. */
  #note(chat, rev, seq) {
    if (!(rev > chat.rev)) return;
    chat.ahead.set(rev, seq);
    this.#settle(chat);
    if (chat.ahead.size) this.io.sync();
  }

  /** Moves `rev` over what was applied. Own messages took revs that `message.sent` does not tell: where exactly as many
      revs are missing before a new message as own messages are, nothing is missing. */
  #settle(chat) {
    for (const rev of [...chat.ahead.keys()].sort((a, b) => a - b)) {
      const seq = chat.ahead.get(rev);
      const own = chat.own.filter((s) => s < seq).length;
      if (rev !== chat.rev + 1 && rev !== chat.rev + 1 + own) return;
      chat.rev = rev;
      chat.ahead.delete(rev);
      chat.own = chat.own.filter((s) => !(s < seq));
    }
  }

  /** What `/sync` asks from: `{chat_id: rev}`. */
  revs() { return Object.fromEntries([...this.chats].map(([id, chat]) => [id, chat.rev])); }

  applySync({ chats, removed_chat_ids }) {
    for (const { chat: snap, rev, history_from_seq = 1, messages, receipts, limited, hidden_message_ids = [], stars = [] } of chats) {
      const known = this.chats.has(snap.chat_id);
      const chat = this.putChat(snap);
      this.#forgetBefore(chat, history_from_seq);
      for (const m of messages) this.#arrive(chat, m);
      if (limited) {
        // Too much was missed to walk through: start again from the newest page.
        Object.assign(chat, { log: [], lo: snap.last_seq + 1, top: false, epoch: chat.epoch + 1 });
        chat.byId.clear();
      } else if (!known) {
        for (const m of messages) this.#put(chat, m);
        Object.assign(chat, { lo: 0, top: true });
      }
      for (const id of hidden_message_ids) if (!chat.hidden.has(id)) this.hide(chat, id);
      for (const { message_id, is_starred } of stars) this.#star(chat, message_id, is_starred);
      chat.rev = limited ? snap.rev : known ? Math.max(chat.rev, rev) : rev;
      for (const ahead of [...chat.ahead.keys()]) if (ahead <= chat.rev) chat.ahead.delete(ahead);
      chat.own = chat.own.filter((seq) => { const m = chat.log[place(chat.log, seq)]; return m?.seq === seq && !m.rev; });
      this.#settle(chat);
      for (const r of receipts) this.#mark(chat, r.user_id, r.delivered_up_to_seq, r.read_up_to_seq);
    }
    for (const id of removed_chat_ids ?? []) this.chats.delete(id);
    this.io.changed();
  }

  /** Who was let in again sees the history from then on. */
  #forgetBefore(chat, seq) {
    const gone = chat.log.filter((m) => m.seq < seq);
    if (!gone.length) return;
    for (const m of gone) chat.byId.delete(m.message_id);
    chat.log = chat.log.filter((m) => m.seq >= seq);
    chat.epoch += 1;
  }

  // --- receipts ----------------------------------------------------------------------------------------------------

  #mark(chat, user, delivered = 0, read = 0) {
    if (user === this.me) { chat.readSeq = Math.max(chat.readSeq, read ?? 0); return; }
    const old = chat.marks.get(user) ?? { delivered: 0, read: 0 };
    chat.marks.set(user, { delivered: Math.max(old.delivered, delivered ?? 0), read: Math.max(old.read, read ?? 0) });
  }

  /** The weakest state over all recipients: what the server said, raised by what came since. */
  statusOf(chat, m) {
    const others = chat.type === 'direct' ? [this.peer(chat)]
      : (chat.participants ?? []).map((p) => p.user_id).filter((id) => id !== this.me);
    const ranks = others.map((id) => {
      const mark = chat.marks.get(id);
      return Math.max(m.acks?.[id] ?? 0, mark?.read >= m.seq ? 3 : mark?.delivered >= m.seq ? 2 : 0);
    });
    return STATUS[Math.max(RANK[m.status] ?? 1, ranks.length ? Math.min(...ranks) : 0)];
  }

  #status(chat, { message_id, user_id, status, up_to_seq }) {
    const rank = RANK[status] ?? 0;
    const m = chat.byId.get(message_id);
    const upTo = up_to_seq ?? (status === 'read' && user_id === this.me ? m?.seq : 0) ?? 0;
    if (upTo) this.#mark(chat, user_id, upTo, rank === 3 ? upTo : 0);
    if (m) m.acks[user_id] = Math.max(m.acks[user_id] ?? 0, rank);
    // Read in part on another device: only the server knows how many are left.
    if (user_id === this.me && rank === 3 && upTo < chat.unread.seq) this.io.refetch(chat.chat_id);
  }

  // --- events ------------------------------------------------------------------------------------------------------

  /** Applies a server event. */
  apply(event, data) {
    if (event === 'presence') this.presence.set(data.user_id, data);
    else if (event === 'chat.created') this.#created(data);
    else if (event === 'resync') this.#resync(data.chat_ids ?? []);
    else if (data.chat_id) {
      const chat = this.chats.get(data.chat_id);
      if (chat) this.#applyTo(chat, event, data);
      else if (event !== 'typing') this.io.sync(); // a chat not heard of yet
    }
    this.io.changed();
  }

  #created(snap) {
    const chat = this.putChat(snap);
    if (!snap.last_seq) Object.assign(chat, { lo: 0, top: true });
  }

  #resync(ids) {
    for (const id of ids) {
      const last = this.chats.get(id)?.last_message;
      if (last && last.sender_id !== this.me) this.io.received([last.message_id]);
    }
    this.io.sync();
  }

  #applyTo(chat, event, data) {
    switch (event) {
      case 'message.new':
        this.#arrive(chat, data);
        return this.#note(chat, data.rev, data.seq);
      case 'message.edited':
        if (data.seq >= chat.lo) this.#put(chat, data);
        if (chat.last_message?.message_id === data.message_id) this.io.refetch(chat.chat_id);
        return this.#note(chat, data.rev);
      case 'message.deleted':
        if (data.for !== 'everyone' && !data.deleted_for_everyone) {
          this.hide(chat, data.message_id);
          return this.#note(chat, data.rev);
        }
        this.#change(chat, data, () => ({
          is_deleted: true, is_starred: false, reactions: [], payload: { body: 'This message was deleted' },
        }));
        if (data.seq <= chat.unread.seq || chat.last_message?.message_id === data.message_id) this.io.refetch(chat.chat_id);
        return this.#note(chat, data.rev);
      case 'message.reaction':
        this.#change(chat, data, (m) => {
          const others = (m.reactions ?? []).filter((r) => r.user_id !== data.user_id);
          const { emoji, user_id, timestamp } = data;
          return { reactions: data.removed || !emoji ? others : [...others, { emoji, user_id, timestamp }] };
        });
        return this.#note(chat, data.rev);
      case 'message.starred':
        this.#star(chat, data.message_id, data.is_starred);
        return this.#note(chat, data.rev);
      case 'message.status': return this.#status(chat, data);
      case 'typing': return this.#typing(chat, data);
      case 'chat.updated': {
        const { user_id, role, ...changes } = data.changes;
        Object.assign(chat, changes);
        const member = chat.participants?.find((p) => p.user_id === user_id);
        if (member) member.role = role;
        return this.#note(chat, data.rev);
      }
      case 'group.member.added':
        // Where the members are not known, they are asked for when the chat is opened.
        if (chat.participants?.length && !chat.participants.some((p) => p.user_id === data.user_id)) {
          const { user_id, display_name } = data;
          chat.participants.push({ user_id, display_name, avatar_url: null, role: 'member', joined_at: new Date().toISOString() });
        }
        return this.#note(chat, data.rev);
      case 'group.member.removed':
        if (data.user_id === this.me) return this.dropChat(chat.chat_id);
        chat.participants = chat.participants?.filter((p) => p.user_id !== data.user_id);
        return this.#note(chat, data.rev);
    }
  }

  #change(chat, { message_id, rev }, change) {
    const m = chat.byId.get(message_id);
    if (!m || m.rev >= rev) return;
    Object.assign(m, change(m), { rev });
    if (m.is_deleted) this.#requote(chat, m);
  }

  /** A star is one's own: it does not change the message's `rev`. */
  #star(chat, messageId, is_starred) {
    const m = chat.byId.get(messageId);
    if (m) m.is_starred = is_starred;
  }

  #typing(chat, { user_id, is_typing }) {
    clearTimeout(chat.typing.get(user_id));
    chat.typing.delete(user_id);
    if (!is_typing || user_id === this.me) return;
    chat.typing.set(user_id, setTimeout(() => { chat.typing.delete(user_id); this.io.changed(); }, TYPING_TTL));
  }
}
