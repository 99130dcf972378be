// The WebSocket: connects, stays alive, reconnects with backoff and matches answers to requests. What was missed
// meanwhile is for the owner to fetch (`onOpen`); what frames mean is for the store.

import { ApiError, accessToken, refresh, uuid } from './api.js';

const BACKOFF = [1, 2, 4, 8, 16, 30]; // seconds
const PING = 25_000;
const CONNECT_TIMEOUT = 15_000;
const STABLE = 10_000; // an open socket this old resets the backoff
const REPLACED = 4010;
const UNAUTHORIZED = 4001;

/** Handlers: `onOpen`, `onEvent(event, data)`, `onState('connecting' | 'open' | 'waiting' | 'off')`, `onReplaced`, `onRevoked`. */
export class Socket {
  #on;
  #ws = null;
  #run = 0; // changes whenever an older attempt must be forgotten
  #attempt = 0;
  #refused = false; // 4001 once already, with a token just refreshed
  #timers = [];
  #pending = new Map();
  #alive = () => {}; // called for every frame

  constructor(handlers) { this.#on = handlers; }

  get isOpen() { return this.#ws?.readyState === WebSocket.OPEN; }

  start() { this.#attempt = 0; this.#connect(); }

  /** Skips the wait for the next attempt, say because the network came back. */
  nudge() { if (this.#timers.waiting) this.start(); }

  stop() {
    this.#abandon();
    this.#on.onState('off');
  }

  /** Sends and forgets; false when there is no connection. */
  send(event, data) {
    if (!this.isOpen) return false;
    this.#ws.send(JSON.stringify({ event, data }));
    return true;
  }

  /** Sends and waits for the answer; rejects with an ApiError (status 0: outcome unknown). */
  request(event, data, timeout = 10_000) {
    return new Promise((done, fail) => {
      if (!this.isOpen) return fail(new ApiError(0, 'NETWORK', 'Not connected.'));
      const req_id = uuid();
      const timer = setTimeout(() => this.#settle(req_id, new ApiError(0, 'NETWORK', 'The server did not answer.')), timeout);
      this.#pending.set(req_id, { done, fail, timer });
      this.#ws.send(JSON.stringify({ event, data, req_id }));
    });
  }

  async #connect() {
    this.#abandon();
    const run = this.#run;
    this.#on.onState('connecting');
    let token;
    try {
      token = await accessToken();
    } catch (error) {
      if (run === this.#run && error.status !== 401) this.#later();
      return;
    }
    if (run !== this.#run) return;
    const url = new URL('/ws', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    url.searchParams.set('token', token);
    const ws = this.#ws = new WebSocket(url);
    this.#timers = [setTimeout(() => this.#lost(), CONNECT_TIMEOUT)];
    ws.onopen = () => {
      clearTimeout(this.#timers.pop());
      this.#on.onState('open');
      this.#keepAlive();
      this.#on.onOpen();
    };
    ws.onmessage = ({ data }) => this.#frame(data);
    ws.onclose = ({ code, reason }) => this.#closed(code, reason, token);
  }

  #keepAlive() {
    let answered = true;
    this.#alive = () => { answered = true; };
    this.#timers.push(
      setTimeout(() => { this.#attempt = 0; }, STABLE),
      setInterval(() => {
        if (!answered) return this.#lost();
        answered = false;
        this.send('ping', null);
      }, PING),
    );
  }

  #frame(text) {
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    this.#alive();
    this.#refused = false;
    const { event, req_id } = frame;
    const data = frame.data ?? {};
    if (event === 'error') {
      const wait = (data.retry_after_ms ?? 0) / 1000;
      this.#settle(req_id, new ApiError(data.code, data.name, data.message, [], wait));
    } else {
      if (event !== 'ack' && event !== 'pong') this.#on.onEvent(event, data);
      this.#settle(req_id, null, data);
    }
  }

  #settle(req_id, error, data) {
    const waiting = this.#pending.get(req_id);
    if (!waiting) return;
    this.#pending.delete(req_id);
    clearTimeout(waiting.timer);
    if (error) waiting.fail(error); else waiting.done(data);
  }

  async #closed(code, reason, token) {
    this.#abandon();
    if (code === REPLACED) {
      this.#on.onState('off');
      return this.#on.onReplaced();
    }
    if (code !== UNAUTHORIZED) return this.#later(/retry_after_ms=(\d{1,5})$/.exec(reason)?.[1]);
    // The token was too old, or the session is gone: a refresh tells which.
    if (this.#refused) return this.#on.onRevoked();
    this.#refused = true;
    const run = this.#run;
    try { await refresh(token); } catch (error) {
      if (run === this.#run && error.status !== 401) { this.#refused = false; this.#later(); }
      return;
    }
    if (run === this.#run) this.#connect();
  }

  /** The connection is dead although the browser has not noticed. */
  #lost() { this.#abandon(); this.#later(); }

  /** Tries again later: when the server said (milliseconds), or by itself. */
  #later(advised) {
    const base = BACKOFF[Math.min(this.#attempt++, BACKOFF.length - 1)] * 1000;
    const wait = Math.min(30_000, advised ? Number(advised) : base * (0.75 + Math.random() / 2));
    this.#timers = [setTimeout(() => this.#connect(), wait)];
    this.#timers.waiting = true;
    this.#on.onState('waiting');
  }

  #abandon() {
    this.#run++;
    this.#timers.forEach(clearTimeout); // clears intervals as well
    this.#timers = [];
    if (this.#ws) {
      this.#ws.onopen = this.#ws.onmessage = this.#ws.onclose = null;
      this.#ws.close();
      this.#ws = null;
    }
    for (const id of [...this.#pending.keys()]) this.#settle(id, new ApiError(0, 'NETWORK', 'The connection was lost.'));
  }
}
