// Files: shown in their messages, and sent from this machine.

import { accessToken, api, ApiError, explain } from './api.js';
import { h } from './dom.js';

const TYPES = { image: '📷 Photo', video: '📹 Video', audio: '🎵 Audio', document: '📄 Document' };

/** What a file is sent as. The server looks at its bytes. */
const PICTURES = ['image/jpeg', 'image/png', 'image/webp', 'image/gif'];
const FILMS = ['video/mp4', 'video/3gpp', 'video/x-matroska', 'video/webm', 'video/quicktime'];
const SOUNDS = ['audio/aac', 'audio/mp4', 'audio/x-m4a', 'audio/ogg', 'audio/opus', 'audio/mpeg', 'audio/wav', 'audio/x-wav'];

export function kindOf(file) {
  if (PICTURES.includes(file.type)) return 'image';
  if (FILMS.includes(file.type)) return 'video';
  return SOUNDS.includes(file.type) ? 'audio' : 'document';
}

/** Uploads a file; `onProgress` is told how much of it is done, from 0 to 1. */
export function upload(file, kind, onProgress) {
  const form = new FormData();
  form.append('type', kind); // first, so that a file that is too large for it is refused soon
  form.append('file', file);
  return send('POST', '/media/upload', form, onProgress);
}

/** Makes a file the picture of the signed-in user. */
export function setPicture(file) {
  const form = new FormData();
  form.append('avatar', file);
  return send('PUT', '/users/me/avatar', form, () => {});
}

async function send(method, path, form, onProgress) {
  const token = await accessToken();
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of how far an upload got
    request.open(method, `/api/v1${path}`);
    request.setRequestHeader('Authorization', `Bearer ${token}`);
    request.upload.onprogress = (e) => e.lengthComputable && onProgress(e.loaded / e.total);
    request.onerror = () => failed(new ApiError(0, 'NETWORK', ''));
    request.onload = () => {
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* a proxy's error page */ }
      if (request.status < 300 && answer) return done(answer.data);
      const { code = 'UNAVAILABLE', message = `The server answered ${request.status}.`, details } = answer?.error ?? {};
      failed(new ApiError(request.status, code, message, details, Number(request.getResponseHeader('Retry-After')) || 0));
    };
    request.send(form);
  });
}

/** An address from a message, if it is one that may be opened. */
export function webUrl(text) {
  const url = text && URL.canParse(text, location.href) ? new URL(text, location.href) : null;
  return url && /^https?:$/.test(url.protocol) ? url.href : null;
}

const fresh = (payload) => api('GET', `/media/${payload.media_id}`);

/** Addresses are good for an hour. What is opened later asks for another one, once. */
function renewing(el, payload, of) {
  el.addEventListener('error', async () => {
    try { el.src = webUrl(of(await fresh(payload))) ?? ''; } catch { /* gone, or not ours any more: the label says what it was */ }
  }, { once: true });
  return el;
}

async function open(e, payload) {
  if (!payload.media_id || e.ctrlKey || e.metaKey || e.shiftKey) return; // the address in the message is the best there is
  e.preventDefault();
  const tab = window.open('', '_blank');
  try {
    const url = webUrl((await fresh(payload)).url);
    if (tab && url) { tab.opener = null; tab.location.replace(url); }
  } catch (error) {
    tab?.close();
    e.target.closest('a').title = explain(error);
  }
}

/** The file of a message. */
export function shown(m) {
  const payload = m.payload ?? {};
  const { media_url, thumbnail_url, filename, file_name, size_bytes, width, height } = payload;
  const url = webUrl(media_url), thumbnail = webUrl(thumbnail_url);
  const size = size_bytes && (size_bytes < 1 << 20 ? `${Math.ceil(size_bytes / 1024)} KB` : `${(size_bytes / (1 << 20)).toFixed(1)} MB`);
  const label = [TYPES[m.type], filename || file_name, size].filter(Boolean).join(' · ');
  const link = (...kids) => (url ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer', onclick: (e) => open(e, payload) }, kids) : kids);
  if (m.type === 'image' && (thumbnail || url)) {
    const img = renewing(h('img', { class: 'picture', src: thumbnail ?? url, alt: label, loading: 'lazy', width: width && 240, height: width && Math.min(360, Math.round(240 * height / width)) }),
      payload, (media) => media.thumbnail_url ?? media.url);
    return link(img);
  }
  if (m.type === 'video' && url) {
    return [renewing(h('video', { class: 'picture', src: url, poster: thumbnail, controls: true, preload: 'none', 'aria-label': label }), payload, (media) => media.url), h('div', null, link(label))];
  }
  if (m.type === 'audio' && url) {
    return [renewing(h('audio', { src: url, controls: true, preload: 'none', 'aria-label': label }), payload, (media) => media.url), h('div', null, label)];
  }
  return h('div', null, link(label));
}
