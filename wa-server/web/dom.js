// Small DOM tools: elements, icons, keyed lists, menus, dialogs, toasts, times. Data enters the page as text nodes only.

export const $ = (id) => document.getElementById(id);

/** Builds an element: `on…` are listeners, other properties are set as properties or attributes, kids are nodes or text. */
export function h(tag, props, ...kids) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue;
    if (key.startsWith('on')) el.addEventListener(key.slice(2), value);
    else if (key === 'value') el.value = value;
    else el.setAttribute(key, value === true ? '' : value);
  }
  el.append(...kids.flat(Infinity).filter((kid) => kid != null && kid !== false && kid !== ''));
  return el;
}

const PATHS = {
  add: 'M12 5v14M5 12h14', gear: 'M4 7h10M18 7h2M4 17h2M10 17h10M14 7a2 2 0 1 0 4 0a2 2 0 1 0-4 0M6 17a2 2 0 1 0 4 0a2 2 0 1 0-4 0',
  back: 'M15 5l-7 7 7 7', more: 'M12 5v.01M12 12v.01M12 19v.01', send: 'M4 12l16-8-6 16-3-6z', close: 'M6 6l12 12M18 6L6 18',
  clip: 'M19 11l-8 8a5 5 0 0 1-7-7l9-9a3.4 3.4 0 0 1 5 5l-9 9a1.7 1.7 0 0 1-2.5-2.5l8-8',
  down: 'M6 9l6 6 6-6', pin: 'M9 4h6l-1 6 3 4H7l3-4zM12 14v6', mute: 'M4 9h4l5-4v14l-5-4H4zM17 9l4 6M21 9l-4 6',
  pending: 'M12 7v5l3 2M4 12a8 8 0 1 0 16 0a8 8 0 1 0-16 0', failed: 'M12 7v6M12 17v.01M4 12a8 8 0 1 0 16 0a8 8 0 1 0-16 0',
  sent: 'M6 12l4 5 8-10', delivered: 'M2 12l4 5 8-10M11 16l1 1 9-10', read: 'M2 12l4 5 8-10M11 16l1 1 9-10',
};

/** A drawn icon; with a label it is an image with that name, without one it is decoration. */
export function icon(name, label) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', PATHS[name]);
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `i i-${name}`);
  svg.setAttribute(label ? 'role' : 'aria-hidden', label ? 'img' : 'true');
  if (label) svg.setAttribute('aria-label', label);
  svg.append(path);
  return svg;
}

export const iconButton = (name, label, onclick, props) =>
  h('button', { type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, ...props }, icon(name));

/** A round picture, or the initials on a colour that follows from the id. Pictures of other origins are not loaded. */
export function avatar(name, id, url, online) {
  const hue = [...(id ?? '')].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 8, 0);
  const initials = name.split(/\s+/).map((word) => [...word][0]).filter(Boolean).slice(0, 2).join('').toUpperCase();
  const el = h('span', { class: `avatar hue${hue}${online ? ' online' : ''}`, 'aria-hidden': 'true' }, initials || '?');
  const at = url && URL.canParse(url, location.href) ? new URL(url, location.href) : null;
  // The server may be known under several names; its pictures are where this page came from.
  const src = at?.pathname.startsWith('/api/v1/media/avatars/') ? at.pathname : at?.origin === location.origin ? url : null;
  if (src) {
    const img = h('img', { src, alt: '', loading: 'lazy' });
    img.addEventListener('error', () => img.remove());
    el.append(img);
  }
  return el;
}

const lists = new WeakMap();

/** Makes `box` hold `items` ({key, sig, make}), rebuilding only those whose `sig` changed. Focus stays where it was. */
export function keyed(box, items) {
  const old = lists.get(box) ?? new Map();
  const now = new Map(items.map((item) => [item.key, item]));
  const active = document.activeElement;
  const inside = box !== active && box.contains(active);
  let refocus = inside ? active : null;
  for (const [key, item] of old) if (!now.has(key)) item.el.remove();
  let at = box.firstChild;
  for (const item of items) {
    const was = old.get(item.key);
    item.el = was?.el;
    if (was?.sig !== item.sig) {
      item.el = item.make();
      if (was?.el.contains(active)) refocus = item.el.querySelector(`[data-f="${active.dataset.f}"]`);
      if (was) {
        if (at === was.el) at = item.el;
        was.el.replaceWith(item.el);
      }
    }
    if (item.el === at) at = at.nextSibling; else box.insertBefore(item.el, at);
  }
  lists.set(box, now);
  if (inside && document.activeElement !== refocus) refocus?.focus({ preventScroll: true });
}

/** A menu at `anchor`; items are `[label, run]`, falsy ones are left out. */
export function menu(anchor, items) {
  document.querySelector('.menu')?.remove();
  const close = (back) => {
    removeEventListener('pointerdown', outside, true);
    box.remove();
    if (back) anchor.focus();
  };
  const outside = (e) => { if (!box.contains(e.target)) close(false); };
  const box = h('div', { class: 'menu', role: 'menu' }, items.filter(Boolean).map(([label, run]) =>
    h('button', { type: 'button', role: 'menuitem', tabindex: -1, onclick() { close(true); run(); } }, label)));
  box.addEventListener('keydown', (e) => {
    const buttons = [...box.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
    else if (e.key === 'Escape' || e.key === 'Tab') close(true);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  document.body.append(box);
  const { left, right, top, bottom } = anchor.getBoundingClientRect();
  const width = box.offsetWidth, height = box.offsetHeight;
  box.style.left = `${Math.max(8, left + width + 8 > innerWidth ? right - width : left)}px`;
  box.style.top = `${Math.max(8, bottom + height + 8 > innerHeight ? top - height : bottom)}px`;
  addEventListener('pointerdown', outside, true);
  box.firstChild?.focus();
}

/** A modal dialog; Esc and the cross close it. Returns the element. */
export function dialog(title, ...content) {
  const box = h('dialog', { class: 'sheet', 'aria-label': title },
    h('header', { class: 'bar' }, h('h2', null, title), iconButton('close', 'Close', () => box.close())), content);
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Asks before something that cannot be undone. */
export function confirmed(title, text, yes) {
  return new Promise((done) => {
    const answer = (value) => () => { done(value); box.close(); };
    const box = dialog(title, h('p', null, text), h('p', { class: 'row end' },
      h('button', { type: 'button', onclick: answer(false) }, 'Cancel'),
      h('button', { type: 'button', class: 'danger', onclick: answer(true) }, yes)));
    box.addEventListener('close', () => done(false));
  });
}

let toastTimer = 0;

/** A short notice above everything else. */
export function toast(text) {
  const el = $('toast');
  el.hidePopover();
  if (!text) return;
  el.textContent = text;
  el.showPopover();
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => el.hidePopover(), 6000);
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const SHORT = new Intl.DateTimeFormat(undefined, { day: '2-digit', month: '2-digit', year: '2-digit' });

export const clock = (time) => CLOCK.format(new Date(time));

export function day(time, format = DAY) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.round((midnight - new Date(time).setHours(0, 0, 0, 0)) / 86_400_000);
  return days === 0 ? 'Today' : days === 1 ? 'Yesterday' : format.format(new Date(time));
}

export const dayOrClock = (time) => (day(time) === 'Today' ? clock(time) : day(time, SHORT));
export const moment = (time) => `${day(time, SHORT).replace(/^[TY]/, (c) => c.toLowerCase())} at ${clock(time)}`;
