// REST client: the envelope, the session in localStorage, silent refresh (one at a time across tabs), readable errors.

const BASE = '/api/v1';
export const SESSION_KEY = 'wa.session';

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A random id. `crypto.randomUUID` is missing on plain-HTTP pages. */
export const uuid = () => crypto.randomUUID?.() ??
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');

/** What went wrong: `status` 0 means that no answer came. */
export class ApiError extends Error {
  constructor(status, code, message, details = [], retryAfter = 0) {
    super(message);
    Object.assign(this, { status, code, details, retryAfter });
  }
}

const TEXTS = {
  NETWORK: 'The server cannot be reached. Check your connection.',
  OTP_INVALID: 'That code is not right.',
  OTP_EXPIRED: 'This code is no longer valid. Ask for a new one.',
  OTP_MAX_ATTEMPTS: 'Too many wrong codes. Ask for a new one.',
  USER_BLOCKED: 'You blocked this person. Unblock them to send messages.',
  NOT_CHAT_MEMBER: 'You are no longer in this chat.',
  UNAVAILABLE: 'The server cannot do this right now. Try again in a moment.',
  INTERNAL: 'Something went wrong on the server. Try again in a moment.',
};

/** An error as a sentence for the person in front of the screen. */
export function explain(error) {
  if (error.code === 'RATE_LIMITED') return `Too many requests. Try again in ${Math.max(1, error.retryAfter)} s.`;
  const fields = (error.details ?? []).map((d) => `${d.field}: ${d.message}`).join('; ');
  return TEXTS[error.code] ?? (fields || error.message || 'Something went wrong.');
}

/** The signed-in session, shared by all tabs. `refresh_key` makes every repeat of one refresh the same request. */
export const session = {
  onEnd: () => {},
  get() {
    try { return JSON.parse(localStorage.getItem(SESSION_KEY)); } catch { return null; }
  },
  save({ access_token, refresh_token, expires_in, user, device_id }) {
    localStorage.setItem(SESSION_KEY, JSON.stringify({
      access_token, refresh_token, user, device_id, refresh_key: uuid(), expires_at: Date.now() + expires_in * 1000,
    }));
  },
  end(note) {
    localStorage.removeItem(SESSION_KEY);
    this.onEnd(note);
  },
};

const ENDED = 'Your session has ended. Log in again.';

async function send(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(BASE + path, {
      method,
      headers: body === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    });
    if (answer.status === 204) return null;
    const json = await answer.json();
    if (answer.ok) return json.data;
    const { code, message, details } = json.error;
    throw new ApiError(answer.status, code, message, details ?? [], Number(answer.headers.get('Retry-After')) || 0);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    // A proxy's error page, or no answer at all.
    if (answer && !answer.ok) throw new ApiError(answer.status, 'UNAVAILABLE', `The server answered ${answer.status}.`);
    throw new ApiError(0, 'NETWORK', TEXTS.NETWORK);
  }
}

async function rotate(stale) {
  for (let attempt = 0; ; attempt++) {
    const now = session.get();
    if (!now) throw new ApiError(401, 'UNAUTHORIZED', ENDED);
    if (now.access_token !== stale) return; // another tab was faster
    const replaced = () => session.get()?.refresh_token !== now.refresh_token;
    try {
      const answer = await send('POST', '/auth/refresh', { refresh_token: now.refresh_token }, { 'Idempotency-Key': now.refresh_key });
      if (!replaced()) session.save(answer);
      return;
    } catch (error) {
      if ([400, 401, 422].includes(error.status)) {
        if (replaced()) continue;
        session.end(ENDED);
        throw error;
      }
      if (attempt === 2 || error.status === 429) throw error;
      await sleep(1000 * 2 ** attempt); // well within the 30 s in which the same key gets the same answer
    }
  }
}

let rotating = null;

/** Replaces the access token `stale`, unless somebody did already. */
export function refresh(stale) {
  rotating ??= (navigator.locks ? navigator.locks.request('wa.refresh', () => rotate(stale)) : rotate(stale))
    .finally(() => { rotating = null; });
  return rotating;
}

/** An access token that is good for at least some seconds. */
export async function accessToken() {
  const now = session.get();
  if (!now) throw new ApiError(401, 'UNAUTHORIZED', ENDED);
  if (now.expires_at - Date.now() < 20_000) await refresh(now.access_token);
  return session.get()?.access_token;
}

/** A call without a session. */
export const open = (method, path, body) => send(method, path, body);

/** A call in the name of the signed-in user; refreshes the token once when it is refused. */
export async function api(method, path, body) {
  const token = await accessToken();
  try {
    return await send(method, path, body, { Authorization: `Bearer ${token}` });
  } catch (error) {
    if (error.status !== 401) throw error;
    await refresh(token);
    return send(method, path, body, { Authorization: `Bearer ${session.get()?.access_token}` });
  }
}
