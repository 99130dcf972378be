// Groups: the dialogs that make one, show and change one, and follow an invite.

import { api, explain } from './api.js';
import { avatar, confirmed, dialog, h, toast } from './dom.js';
import { field, fill, form, section } from './panels.js';

const TIMERS = { off: 'Never', '24h': 'After 24 hours', '7d': 'After 7 days', '90d': 'After 90 days' };

const nameOf = (contact) => contact.nickname || contact.display_name || contact.phone || 'Unknown person';
const button = (text, onclick, props) => h('button', { type: 'button', onclick, ...props }, text);
const nameInput = (value) => h('input', { value: value ?? '', maxlength: 100, required: true, autocomplete: 'off' });
const aboutInput = (value) => h('input', { value: value ?? '', maxlength: 512, autocomplete: 'off' });

/** A list of people to choose from; `chosen()` tells whom. */
async function chooser(app, without) {
  await app.loadContacts();
  const contacts = [...app.store.contacts.values()].filter((c) => !c.is_blocked && !without.has(c.user_id));
  contacts.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const boxes = contacts.map((c) => [c.user_id, h('input', { type: 'checkbox' })]);
  const list = contacts.length
    ? h('ul', { class: 'plain-list' }, contacts.map((c, i) => h('li', null, h('label', { class: 'row' }, boxes[i][1], avatar(nameOf(c), c.user_id, c.avatar_url), h('span', { dir: 'auto' }, nameOf(c))))))
    : h('p', { class: 'hint' }, 'Nobody to choose. Add contacts by their phone number first.');
  return { list, chosen: () => boxes.filter(([, box]) => box.checked).map(([id]) => id) };
}

function some(ids) {
  if (!ids.length) throw new Error('Choose at least one person.');
  return ids;
}

export function showNewGroup(app) {
  const content = h('div');
  const box = dialog('New group', content);
  fill(content, async () => {
    const name = nameInput(), about = aboutInput();
    const people = await chooser(app, new Set());
    return form('Make the group', async () => {
      const participant_ids = some(people.chosen());
      const chat = await api('POST', '/chats', { type: 'group', name: name.value, description: about.value, participant_ids });
      app.shown(chat);
      box.close();
    }, field('Name', name), field('About', about), section('Members', people.list));
  });
}

/** Follows an invite, once the person has said so. */
export async function followInvite(app, code) {
  if (!await confirmed('Join this group?', 'Its members will see your name, and you will see what is said from now on.', 'Join')) return;
  const chat = await app.attempt(api('POST', '/chats/join', { code }));
  if (chat) app.shown(chat);
}

export function showGroup(app, id) {
  const content = h('div');
  const path = `/chats/${id}`;
  const box = dialog('Group info', content);
  const load = () => fill(content, async () => {
    const group = await api('GET', path);
    app.store.putChat(group);
    return parts(group);
  });
  /** Does it, and shows how the group is then. */
  const act = async (work) => { if (await app.attempt(work) !== false) load(); };

  const parts = (group) => {
    const isAdmin = group.participants.some((p) => p.user_id === app.store.me && p.role === 'admin');
    return [
      h('div', { class: 'person' }, avatar(group.name, id, group.avatar_url), h('h3', { dir: 'auto' }, group.name)),
      isAdmin ? properties(group) : group.description && h('p', { dir: 'auto' }, group.description),
      section(`${group.participants.length} members`, h('ul', { class: 'plain-list' }, group.participants.map((p) => member(p, isAdmin)))),
      isAdmin && adding(group),
      isAdmin && section('Invite', h('p', { class: 'row' }, button('Make an invite', invite), button('Revoke it', () => act(api('DELETE', `${path}/invite`))))),
      section('Leave', button('Leave the group', leave, { class: 'danger' })),
    ].filter(Boolean);
  };

  const properties = (group) => {
    const name = nameInput(group.name), about = aboutInput(group.description);
    const adminOnly = h('input', { type: 'checkbox', checked: group.is_admin_only });
    const timer = h('select', null, Object.entries(TIMERS).map(([value, text]) => h('option', { value, selected: value === group.auto_delete_timer }, text)));
    return form('Save', async () => {
      await api('PATCH', path, { name: name.value, description: about.value, is_admin_only: adminOnly.checked });
      if (timer.value !== group.auto_delete_timer) await api('PUT', `${path}/disappearing`, { timer: timer.value });
      load();
    }, field('Name', name), field('About', about), h('label', { class: 'row' }, adminOnly, 'Only admins can send messages'),
    field('New messages disappear', timer));
  };

  const member = (p, isAdmin) => {
    const name = app.store.name(p.user_id, { participants: [p] });
    const set = (role) => act(api('PATCH', `${path}/participants/${p.user_id}/role`, { role }));
    const remove = async () => {
      if (await confirmed('Remove this person?', `${name} will no longer see what is said here.`, 'Remove')) act(api('DELETE', `${path}/participants/${p.user_id}`));
    };
    return h('li', { class: 'row' }, avatar(name, p.user_id, p.avatar_url),
      h('span', { class: 'lines' }, h('b', { dir: 'auto' }, name), h('small', null, p.role === 'admin' ? 'Admin' : '')),
      isAdmin && button(p.role === 'admin' ? 'No longer admin' : 'Make admin', () => set(p.role === 'admin' ? 'member' : 'admin')),
      isAdmin && p.user_id !== app.store.me && button('Remove', remove, { class: 'danger', 'aria-label': `Remove ${name}` }));
  };

  const adding = (group) => {
    const people = h('div');
    fill(people, async () => {
      const { list, chosen } = await chooser(app, new Set(group.participants.map((p) => p.user_id)));
      return form('Add them', async () => {
        await api('POST', `${path}/participants`, { user_ids: some(chosen()) });
        load();
      }, list);
    });
    return section('Add people', people);
  };

  const invite = async () => {
    const made = await app.attempt(api('POST', `${path}/invite`));
    if (!made) return;
    const url = new URL(`/#join=${made.code}`, location.href).href;
    const address = h('input', { value: url, readonly: true, 'aria-label': 'Address of the invite' });
    dialog('Invite', h('p', null, 'Whoever has this address can join. The one before no longer works.'), address,
      h('p', { class: 'row end' }, navigator.clipboard && button('Copy', () => app.copy(url), { class: 'primary' })));
    address.select();
  };

  const leave = async () => {
    if (!await confirmed('Leave the group?', 'You will no longer see what is said here.', 'Leave')) return;
    try {
      await api('DELETE', `${path}/participants/${app.store.me}`);
      app.store.dropChat(id);
      box.close();
    } catch (error) { toast(explain(error)); }
  };

  load();
}
