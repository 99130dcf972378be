// Forms and dialogs: login, settings (profile, privacy, devices), new chat and contacts, a person's details.

import { api, explain, open, session } from './api.js';
import { $, avatar, confirmed, dialog, h, moment, toast } from './dom.js';
import { setPicture } from './files.js';
import { showNewGroup } from './groups.js';

export const field = (label, input, hint) => h('label', { class: 'field' }, h('span', null, label), input, hint && h('small', null, hint));

/** A form whose `run` may fail: the button waits meanwhile and the error is shown in the form. */
export function form(submit, run, ...fields) {
  const error = h('p', { class: 'error', role: 'alert' });
  const button = h('button', { type: 'submit', class: 'primary' }, submit);
  return h('form', { async onsubmit(e) {
    e.preventDefault();
    button.disabled = true;
    error.textContent = '';
    try { await run(); } catch (failure) { error.textContent = explain(failure); }
    button.disabled = false;
  } }, fields, error, h('p', { class: 'row end' }, button));
}

/** A phone number as E.164; spaces and the like are fine, 00 stands for +. */
function e164(text) {
  const phone = text.replace(/[\s().\/-]/g, '').replace(/^00/, '+');
  if (!/^\+[1-9]\d{6,14}$/.test(phone)) throw new Error('Write the number with its country code, for example +1 555 010 0123.');
  return phone;
}

const phoneInput = (props) => h('input', { type: 'tel', autocomplete: 'tel', placeholder: '+1 555 010 0123', required: true, maxlength: 24, ...props });

// --- login -----------------------------------------------------------------------------------------------------------

function deviceName() {
  const ua = navigator.userAgent;
  const pick = (names) => names.find(([mark]) => ua.includes(mark))?.[1];
  const browser = pick([['Edg/', 'Edge'], ['Firefox/', 'Firefox'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']]) ?? 'Browser';
  const system = pick([['Android', 'Android'], ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Windows', 'Windows'], ['Mac OS', 'macOS'], ['Linux', 'Linux']]);
  return system ? `${browser} on ${system}` : browser;
}

/** Asks for phone and code; `done(isNew)` when the session is saved. */
export function showLogin(note, done) {
  const card = (title, ...content) => {
    $('login').replaceChildren(h('div', { class: 'card' }, h('h1', null, title), content));
    $('login').querySelector('input').focus();
  };
  const askPhone = (number) => {
    const phone = phoneInput({ value: number });
    card('Log in', note && h('p', { role: 'status' }, note), form('Send me a code', async () => {
      const wanted = e164(phone.value);
      askCode(wanted, await open('POST', '/auth/request-otp', { phone: wanted }));
    }, field('Your phone number', phone)));
  };
  const askCode = (phone, sent) => {
    const code = h('input', { inputmode: 'numeric', autocomplete: 'one-time-code', pattern: '\\d{6}', maxlength: 6, required: true, value: sent.otp ?? '' });
    const link = (text, run) => h('button', { type: 'button', class: 'link', onclick: run }, text);
    card('Enter the code',
      h('p', null, `We sent a code to ${phone}. It is good for ${Math.round(sent.expires_in_seconds / 60)} minutes.`),
      sent.otp && h('p', { class: 'note' }, 'This server runs in development mode and filled in the code for you.'),
      form('Log in', async () => {
        const answer = await open('POST', '/auth/verify-otp', { phone, otp: code.value, device_name: deviceName() });
        session.save(answer);
        done(answer.is_new_user);
      }, field('Six digits', code)),
      h('p', { class: 'row' }, link('Another number', () => askPhone(phone)), link('Send a new code', async () => {
        try { askCode(phone, await open('POST', '/auth/request-otp', { phone })); } catch (error) { toast(explain(error)); }
      })));
  };
  askPhone();
}

// --- settings --------------------------------------------------------------------------------------------------------

const WHO = { everyone: 'Everyone', contacts: 'My contacts', nobody: 'Nobody' };
const PRIVACY = { last_seen: 'Last seen and online', profile_photo: 'Profile photo', about: 'About' };

export const section = (title, ...content) => h('section', null, h('h3', null, title), content);

/** Fills `box` with what `load` brings, or says why it cannot. */
export async function fill(box, load) {
  box.replaceChildren(h('p', { class: 'hint' }, 'Loading…'));
  try { box.replaceChildren(...[await load()].flat()); } catch (error) {
    box.replaceChildren(h('p', { class: 'error' }, explain(error), ' ', h('button', { type: 'button', class: 'link', onclick: () => fill(box, load) }, 'Try again')));
  }
}

async function profileForm(app) {
  await app.loadProfile();
  const name = h('input', { value: app.profile.display_name, maxlength: 64, autocomplete: 'name' });
  const about = h('input', { value: app.profile.status_text, maxlength: 140 });
  const picture = h('input', { type: 'file', accept: 'image/jpeg,image/png,image/webp' });
  return form('Save profile', async () => {
    if (picture.files[0]) await setPicture(picture.files[0]);
    app.profile = await api('PATCH', '/users/me', { display_name: name.value.trim(), status_text: about.value.trim() });
    app.changed();
    toast('Profile saved.');
  }, field('Name', name, 'Shown to the people you write to'), field('About', about), field('Picture', picture, 'JPEG, PNG or WebP, 5 MB at most'));
}

async function privacyForm() {
  const now = await api('GET', '/users/me/privacy');
  const selects = Object.entries(PRIVACY).map(([key, label]) => [key, label, h('select', null,
    Object.entries(WHO).map(([value, text]) => h('option', { value, selected: value === now[key] }, text)))]);
  const receipts = h('input', { type: 'checkbox', checked: now.read_receipts });
  return form('Save privacy', async () => {
    const wanted = Object.fromEntries(selects.map(([key, , select]) => [key, select.value]));
    await api('PUT', '/users/me/privacy', { ...wanted, read_receipts: receipts.checked });
    toast('Privacy saved.');
  }, selects.map(([, label, select]) => field(label, select)),
  h('label', { class: 'row' }, receipts, 'Read receipts'), h('small', null, 'Without them you do not see those of others either.'));
}

async function deviceList(app, again) {
  const devices = await api('GET', '/auth/devices');
  return h('ul', { class: 'plain-list' }, devices.map((device) => h('li', { class: 'row' },
    h('span', { class: 'lines' }, h('b', null, device.name || 'Unnamed device'),
      h('small', null, device.current ? 'This browser' : device.last_active_at ? `Active ${moment(device.last_active_at)}` : '')),
    h('button', { type: 'button', class: 'danger', 'aria-label': `Log out ${device.name}`, async onclick() {
      if (device.current) return app.logout();
      if (!await confirmed('Log out this device?', `“${device.name || 'Unnamed device'}” will have to log in again.`, 'Log out')) return;
      if (await app.attempt(api('DELETE', `/auth/devices/${device.device_id}`)) !== false) again();
    } }, 'Log out'))));
}

export function showSettings(app) {
  const profile = h('div'), privacy = h('div'), devices = h('div');
  const load = () => fill(devices, () => deviceList(app, load));
  dialog('Settings', app.isNew && h('p', { class: 'note' }, 'Welcome! Tell people your name.'),
    section(`Profile of ${app.profile.phone}`, profile),
    section('Who can see', privacy), section('Devices', devices),
    section('Session', h('p', { class: 'row' }, h('button', { type: 'button', class: 'danger', onclick: () => app.logout() }, 'Log out of this browser'))));
  app.isNew = false;
  fill(profile, () => profileForm(app));
  fill(privacy, privacyForm);
  load();
}

// --- people ----------------------------------------------------------------------------------------------------------

const blockButton = (app, id, after) => h('button', { type: 'button', async onclick() {
  await app.block(id, !app.store.blocked.has(id));
  after();
} }, app.store.blocked.has(id) ? 'Unblock' : 'Block');

export function showNewChat(app) {
  const phone = phoneInput({ autocomplete: 'off' });
  const list = h('div');
  const name = (c) => c.nickname || c.display_name || c.phone;
  const load = () => fill(list, async () => {
    await app.loadContacts();
    const contacts = [...app.store.contacts.values()].sort((a, b) => name(a).localeCompare(name(b)));
    if (!contacts.length) return h('p', { class: 'hint' }, 'Nobody yet. Add people by their phone number.');
    return h('ul', { class: 'plain-list' }, contacts.map((c) => h('li', { class: 'row' },
      avatar(name(c), c.user_id, c.avatar_url),
      h('span', { class: 'lines' }, h('b', { dir: 'auto' }, name(c)), h('small', null, c.phone)),
      h('button', { type: 'button', class: 'primary', 'aria-label': `Message ${name(c)}`, onclick: () => start(c.user_id) }, 'Message'),
      blockButton(app, c.user_id, load))));
  });
  const start = async (id) => { if (await app.startChat(id)) box.close(); };
  const group = () => { box.close(); showNewGroup(app); };
  const box = dialog('New chat', h('p', { class: 'row' }, h('button', { type: 'button', onclick: group }, 'New group')), form('Add contact', async () => {
    const wanted = e164(phone.value);
    const { registered_users: [found] } = await api('POST', '/users/contacts/sync', { phone_numbers: [wanted] });
    if (!found) throw new Error(`${wanted} has no account here.`);
    if (found.user_id === app.store.me) throw new Error('This is your own number.');
    phone.value = '';
    await load();
  }, field('Phone number', phone)), section('Contacts', list));
  load();
}

export function showPerson(app, id) {
  const details = h('div');
  const load = () => fill(details, async () => {
    const user = await api('GET', `/users/${id}`);
    const chat = [...app.store.chats.values()].find((c) => app.store.peer(c) === id);
    const name = app.store.name(id, chat);
    return [h('div', { class: 'person' }, avatar(name, id, user.avatar_url), h('h3', { dir: 'auto' }, name)),
      user.phone && h('p', null, user.phone), user.status_text && h('p', { dir: 'auto' }, user.status_text),
      h('p', { class: 'row' }, blockButton(app, id, load))].filter(Boolean);
  });
  dialog('Contact info', details);
  load();
}
