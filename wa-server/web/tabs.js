// Decides which tab may hold the socket. Tabs of one browser share a device session, and the server keeps one
// socket per device (close code 4010), so one tab holds it and the others wait. Web Locks; else a BroadcastChannel.

const NAME = 'wa.socket';

/** `onGain` and `onLose` may be called many times. Returns `take` (use here), `drop` (lost for another reason), `stop`. */
export function claimSocket(handlers) {
  return navigator.locks ? withLocks(handlers) : withChannel(handlers);
}

function withLocks({ onGain, onLose }) {
  let letGo = null; // ends our hold
  let queued = null; // our place in the queue

  const hold = () => new Promise((done) => { letGo = done; onGain(); });
  const lost = () => { letGo = null; onLose(); wait(); };
  function wait() {
    queued = new AbortController();
    const { signal } = queued;
    navigator.locks.request(NAME, { signal }, () => { queued = null; return hold(); })
      .catch(() => { if (!signal.aborted) lost(); });
  }
  const stop = () => { queued?.abort(); queued = null; letGo?.(); letGo = null; };

  navigator.locks.request(NAME, { ifAvailable: true }, (lock) => (lock ? hold() : lost())).catch(lost);
  return {
    take() { stop(); navigator.locks.request(NAME, { steal: true }, hold).catch(lost); },
    drop() { stop(); onLose(); },
    stop,
  };
}

function withChannel({ onGain, onLose }) {
  const channel = new BroadcastChannel(NAME);
  let held = false;
  let timer = 0;

  function gain() { held = true; onGain(); }
  function ask() {
    clearTimeout(timer);
    timer = setTimeout(gain, 300);
    channel.postMessage('ask');
  }
  function free() { clearTimeout(timer); if (held) { held = false; channel.postMessage('free'); } }

  channel.onmessage = ({ data }) => {
    if (data === 'ask' && held) channel.postMessage('held');
    else if (data === 'held' && !held) { clearTimeout(timer); onLose(); }
    else if (data === 'take') { clearTimeout(timer); held = false; onLose(); }
    else if (data === 'free' && !held) ask();
  };
  addEventListener('pagehide', free);
  ask();
  return {
    take() { clearTimeout(timer); channel.postMessage('take'); gain(); },
    drop() { clearTimeout(timer); held = false; onLose(); },
    stop() { free(); channel.close(); },
  };
}
